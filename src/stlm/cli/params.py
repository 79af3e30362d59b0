"""``stlm params``."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from stlm.cli.runs import configure, is_run
from stlm.errors import UserError
from stlm.model.config import ModelConfig
from stlm.model.count import Count, count
from stlm.model.lm import LM
from stlm.train.folder import find_checkpoint

SUBWORDS = 50_257  # symbols of GPT-2's tokenizer


def run(arguments: list[str]) -> int:
    name, flags = arguments[0], arguments[1:]
    if is_run(name):
        if flags:
            raise UserError(f"{flags[0]}: a trained run has its parameters; flags go with a preset or a TOML file")
        checkpoint = find_checkpoint(name)
        model, counted = checkpoint.config.model, count(LM(checkpoint.config.model, checkpoint.codec))
    else:
        config = configure(name, flags, f"stlm params {name}")
        model, counted = config.model, count(LM(config.model, config.data.codec.outline()))
    console = Console()
    console.print(table(name, counted))
    console.print(beside_subwords(model, counted))
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


def beside_subwords(model: ModelConfig, counted: Count) -> Table:
    """What the same trunk would carry with GPT-2's table of subwords, tied to its head and untied."""
    front = counted.unique - counted.trunk
    out = Table(title="beside the same trunk over GPT-2's 50,257 subwords")
    for column in ("", "tables and local networks", "all", "saved here"):
        out.add_column(column, justify="left" if column == "" else "right")
    out.add_row("this model", f"{front:,}", f"{counted.unique:,}", "")
    for label, uses in (("one table, tied", 1), ("two tables, untied", 2)):
        theirs = uses * SUBWORDS * model.dim
        out.add_row(label, f"{theirs:,}", f"{theirs + counted.trunk:,}", f"{1 - front / theirs:.0%} of them")
    return out
