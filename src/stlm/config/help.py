"""The help of a command whose flags are the fields of a config: every field, and every slot with its kinds.

The help is made from the dataclasses, so a new field or slot appears in it without further work.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import shutil
import textwrap
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from stlm.config.bounds import without_none, words_of
from stlm.config.decode import alternatives, field_types
from stlm.config.slot import Slot, kinds, slot_of

Row = tuple[str, str]  # a flag with its placeholder, and what it does
LEFT = 38  # largest width of the column of flags
NARROWEST = 39  # smallest width of a page
INTRODUCTION = (
    "Each field of a run is a flag. In brackets: the value of a flag that is left out. KIND is one of the kinds that are "
    "listed, or a module of your own, such as mine.my_part. Each kind has flags of its own: to see them, choose the kind and "
    "ask for help again.")
NO_BREAK = "\xa0"  # a space at which lines don't break


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a config as a flag.

    path: such as ``model.trunk.heads``. hint: its type. text: its docstring. value: its present value.
    """

    path: str
    hint: Any
    text: str
    value: Any

    @property
    def flag(self) -> str:
        return f"--{self.path.replace('_', '-')}"

    @property
    def slot(self) -> type[Slot] | None:
        return slot_of(self.hint)

    def row(self) -> Row:
        """The flag, and its text with the possible kinds and the present value."""
        if self.slot is None:
            return f"{self.flag} {_placeholder(self.hint)}", f"{self.text} ({_shown(self.value)})"
        return f"{self.flag} KIND", f"{self.text.rstrip('.')}: {', '.join(kinds(self.slot))} ({self.value.kind})"


def tables(config: Any, path: str = "") -> Iterator[tuple[str, Any, list[Field]]]:
    """Each table of a config: its path, the table, and its fields that are flags. An outer table comes before inner ones."""
    texts = docstrings(config.__class__)
    fields = [Field(f"{path}.{name}".lstrip("."), hint, texts.get(name, ""), getattr(config, name))
              for name, hint in field_types(type(config)).items()]
    yield path, config, [field for field in fields if field.slot is not None or not dataclasses.is_dataclass(field.value)]
    for field in fields:
        if dataclasses.is_dataclass(field.value):
            yield from tables(field.value, field.path)


def fields_of(config: Any) -> list[Field]:
    """All fields of a config that are flags."""
    return [field for _, _, fields in tables(config) for field in fields]


def page(config: Any, program: str, own: Sequence[Row] = (), shorthands: dict[str, str] | None = None, width: int = 0) -> str:
    """The help of a command.

    own: flags that aren't fields. shorthands: flags that stand for a field. width: columns of the page; 0 uses the terminal's.
    """
    width = width or terminal_width()
    by_path = {field.path: field for field in fields_of(config)}
    short = [(f"{flag} {_placeholder(by_path[path].hint)}", f"short for {by_path[path].flag}")
             for flag, path in (shorthands or {}).items() if path in by_path]
    out = [f"usage: {program} [flags]", "", *textwrap.wrap(INTRODUCTION, width), ""]
    if own or short:
        out += ["command: flags that aren't fields of the run", *columns([*own, *short], width), ""]
    for path, table, fields in tables(config):
        if fields:
            out += [*_heading(path, table, width), *columns([field.row() for field in fields], width), ""]
    return "\n".join(out).rstrip()


def show(text: str) -> None:
    """Print help. In a terminal, flags and headings are bold."""
    from rich.console import Console
    from rich.text import Text

    styled = Text(text)
    styled.highlight_regex(r"--[\w.-]+", "bold")
    styled.highlight_regex(r"(?m)^[\w.-]+( = [\w.]+)?(?=:)", "bold")
    Console(highlight=False, width=terminal_width() + 1).print(styled, soft_wrap=True)


def terminal_width() -> int:
    """Columns for text that is wrapped. A terminal that is too narrow for columns breaks the lines itself."""
    return max(NARROWEST, shutil.get_terminal_size().columns - 1)


def columns(rows: Sequence[Row | str], width: int) -> list[str]:
    """Lines with flags on the left and wrapped texts on the right. The text of a long flag begins on the next line. A row that
    is a string is kept unchanged.
    """
    left = min(max((len(row[0]) for row in rows if not isinstance(row, str)), default=0), LEFT, width // 2) + 2
    out = []
    for row in rows:
        if isinstance(row, str):
            out.append(row)
            continue
        flag, text = row
        lines = textwrap.wrap(text, max(20, width - left - 2), break_on_hyphens=False) or [""]
        if len(flag) > left - 2:
            out.append(f"  {flag}")
            flag = ""
        for line in lines:
            out.append(f"  {flag:<{left}}{line}".rstrip().replace(NO_BREAK, " "))
            flag = ""
    return out


@functools.cache
def docstrings(cls: type) -> dict[str, str]:
    """The docstring under each field of a dataclass and of its bases, each as one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            try:
                source = textwrap.dedent(inspect.getsource(base))
            except (OSError, TypeError):  # a class without a file
                continue
            body = typing.cast(ast.ClassDef, ast.parse(source).body[0]).body
            for field, after in itertools.pairwise(body):
                if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    found[ast.unparse(field.target)] = _plain(str(after.value.value))
    return found


def _heading(path: str, table: Any, width: int) -> list[str]:
    """What a table is, and of which of its fields only one is set."""
    title = f"{path.replace('_', '-')} = {table.kind}" if isinstance(table, Slot) else path or "run"
    text = _plain(type(table).__doc__ or "")
    for group in alternatives(type(table)):
        flags = [f"--{path}.{name}".replace("_", "-") for name in field_types(type(table)) if name in group]
        text += f" Give one of {', '.join(flags)}: it replaces the others."
    return textwrap.wrap(f"{title}: {text}", width, break_on_hyphens=False, subsequent_indent="    ")


def _plain(docstring: str) -> str:
    return " ".join(docstring.replace("``", "`").split())


def _placeholder(hint: Any) -> str:
    """The placeholder that follows a flag of this type in the help, such as ``N``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "|".join(map(str, arguments))
    if without_none(hint) is not hint:
        return "|".join([_placeholder(without_none(hint)), *words_of(hint)])
    if origin is tuple:
        return f"{_placeholder(arguments[0])} ..."
    return {int: "N", float: "X", str: "TEXT", bool: "true|false"}.get(hint, "VALUE")


def _shown(value: Any) -> str:
    if value is None:
        return f"not{NO_BREAK}set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return " ".join(map(_shown, value)) or "none"
    return str(value)
