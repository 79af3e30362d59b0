"""``stlm params``."""

from __future__ import annotations

import dataclasses

import torch
from rich.table import Table
from rich.text import Text

from stlm.cli.console import Console
from stlm.cli.parser import first_name
from stlm.errors import UserError
from stlm.model.count import Count, count
from stlm.model.depth import full
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig
from stlm.model.sharing import none as unshared
from stlm.nn.block import conv
from stlm.text.tokenizer import Tokenizer
from stlm.train.cli_args import configure, is_trained
from stlm.train.folder import find_checkpoint

SUBWORDS = 50_257  # tokens of GPT-2's tokenizer
WIDTHS = (256, 384, 512, 640, 768)
CLAIM = 0.9  # the paper says that bytes save 90 to 95 % of a subword model's tables


def run(arguments: list[str]) -> int:
    name, flags = first_name("params", arguments)
    if is_trained(name):
        if flags:
            raise UserError(f"{flags[0]}: a trained run takes no flags; give a preset or a TOML file with them")
        checkpoint = find_checkpoint(name)
        model, tokenizer = checkpoint.config.model, checkpoint.tokenizer
    else:
        config = configure(name, flags, f"stlm params {name}")
        model, tokenizer = config.model, config.data.tokenizer.outline()
    counted, console = _count(model, tokenizer), Console(stderr=False)
    console.print(table(name, counted))
    console.print(beside_subwords(model, counted))
    console.print(by_width(model, tokenizer))
    return 0


def _count(model: ModelConfig, tokenizer: Tokenizer) -> Count:
    with torch.device("meta"):  # count without allocating memory
        return count(LM(model, tokenizer))


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
    out.add_row("unique, each stored once", f"{counted.unique:,}", "")
    out.add_row("total, counted at each use", f"{counted.total:,}", "")
    out.add_row("megabytes, in bfloat16", f"{2 * counted.unique / 1e6:.1f}", "")
    out.add_row("megabytes, in float32", f"{4 * counted.unique / 1e6:.1f}", "")
    return out


def beside_subwords(model: ModelConfig, counted: Count) -> Table:
    """The parameters of this model, and of the same trunk with GPT-2's table of subwords, tied to its head or untied."""
    front = counted.unique - counted.trunk
    out = Table(title="compared with the same trunk over GPT-2's 50,257 subwords")
    for column in ("", "tables and local networks", "all", "saved"):
        out.add_column(column, justify="left" if column == "" else "right")
    out.add_row("this model", f"{front:,}", f"{counted.unique:,}", "")
    for label, uses in (("one table, tied", 1), ("two tables, untied", 2)):
        theirs = uses * SUBWORDS * model.dim
        out.add_row(label, f"{theirs:,}", f"{theirs + counted.trunk:,}", f"{1 - front / theirs:.0%}")
    return out


def by_width(model: ModelConfig, tokenizer: Tokenizer) -> Table:
    """A check of the claim of arXiv 2405.14159 that bytes save 90 to 95 % of the parameters of subwords, for trunks of several
    widths.
    """
    out = Table(title="what bytes save, by the width of the trunk (bold: 90 % or more, as the paper claims)",
                caption="Without the trunk. Local networks: encoder, decoder, and the layers into and out of the trunk.")
    for column in ("width", "tables here", "local networks here", "GPT-2's, tied", "saved", "GPT-2's, untied", "saved"):
        out.add_column(column, justify="right")
    for dim in WIDTHS:
        local = dim if model.local_dim == model.dim else model.local_dim
        one = dataclasses.replace(model, dim=dim, local_dim=local, layers=1, trunk=conv.Config(), depth=full.Config(),
                                  sharing=unshared.Config())
        counted = _count(one, tokenizer)
        cells: list[str | Text] = []
        for uses in (1, 2):
            theirs = uses * SUBWORDS * dim
            saved = 1 - (counted.unique - counted.trunk) / theirs
            cells += [f"{theirs:,}", Text(f"{saved:.1%}", "bold" if saved >= CLAIM else "")]
        out.add_row(str(dim), f"{counted.tables:,}", f"{counted.local:,}", *cells)
    return out
