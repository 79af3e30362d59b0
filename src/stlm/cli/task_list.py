"""The list of tasks in ``stlm eval --help``.

It is read from the files of the kinds, because importing them would import torch, and help has to be fast.
"""

from __future__ import annotations

import ast
from collections import defaultdict

from stlm.config.slot import files_of

PACKAGE = "stlm.evaluate.task"


def task_rows() -> list[tuple[str, str]]:
    """A row for each task, with the first line of its file's docstring, and one for each group."""
    members, rows = defaultdict[str, list[str]](list), list[tuple[str, str]]()
    for name, tree in _kinds().items():
        rows.append((f"  {name}", (ast.get_docstring(tree) or "").partition("\n")[0].rstrip(".")))
        for group in _groups(tree):
            members[group].append(name)
    return [*rows, *((f"  {group}", ", ".join(names)) for group, names in sorted(members.items())),
            ("  all", "all of these"), ("  mine.my_task", "a task of your own: the file mine/my_task.py")]


def _kinds() -> dict[str, ast.Module]:
    """The source of each kind, by name."""
    return {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in files_of(PACKAGE).items()}


def _groups(tree: ast.Module) -> tuple[str, ...]:
    """The ``groups`` of the class Config of a file."""
    body = [line for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config" for line in node.body]
    values = [line.value for line in body if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "groups"]
    return tuple(ast.literal_eval(values[0])) if values else ()

