"""``stlm params``."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from stlm.cli.runs import configure, is_run
from stlm.errors import UserError
from stlm.model.count import Count, count
from stlm.model.lm import LM
from stlm.train.folder import find_checkpoint


def run(arguments: list[str]) -> int:
    name, flags = arguments[0], arguments[1:]
    if is_run(name):
        if flags:
            raise UserError(f"{flags[0]}: a trained run has its parameters; flags go with a preset or a TOML file")
        checkpoint = find_checkpoint(name)
        counted = count(LM(checkpoint.config.model, checkpoint.codec))
    else:
        config = configure(name, flags, f"stlm params {name}")
        counted = count(LM(config.model, config.data.codec.outline()))
    Console().print(table(name, counted))
    return 0


def table(name: str, counted: Count) -> Table:
    """The parameter table of one model."""
    out = Table(title=f"parameters of {name}")
    out.add_column("part")
    out.add_column("parameters", justify="right")
    out.add_column("share", justify="right")
    for part in ("tables", "local", "trunk"):
        value = getattr(counted, part)
        out.add_row({"local": "local networks"}.get(part, part), f"{value:,}", f"{value / counted.unique:.1%}")
    out.add_section()
    out.add_row("unique, as stored", f"{counted.unique:,}", "")
    out.add_row("total, each use counted", f"{counted.total:,}", "")
    return out
