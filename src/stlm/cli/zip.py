"""``stlm zip``, and the code that ``stlm unzip`` uses too."""

from __future__ import annotations

from collections.abc import Callable

import torch

from stlm.cli.console import Console
from stlm.cli.outputs import FORCE, check_file
from stlm.cli.parser import Parser
from stlm.cli.runs import scoring_bar
from stlm.config.writing import write_bytes_whole
from stlm.errors import UserError
from stlm.evaluate.archive import claimed_bits, pack
from stlm.evaluate.native import NativeScorer
from stlm.train.folder import find_checkpoint

Packer = Callable[[NativeScorer, bytes, Callable[[float], None]], bytes]


def run(arguments: list[str]) -> int:
    scorer, data, packed, console = convert("zip", arguments, pack)
    if data:
        claimed = claimed_bits(scorer, data) / 8
        console.say(f"{len(data):,} bytes compressed to {len(packed):,}: {8 * len(packed) / len(data):.4f} bits per byte "
                    f"(the model's own figure: {8 * claimed / len(data):.4f})")
    return 0


def convert(verb: str, arguments: list[str], work: Packer) -> tuple[NativeScorer, bytes, bytes, Console]:
    """Read a file, pack or unpack it, and write the result. Returns the scorer, the bytes read, the bytes written and the
    console.
    """
    parser = Parser(verb)
    parser.text("run")
    parser.path("file")
    parser.path("-o", "--output", required=True)
    parser.add_argument(FORCE, action="store_true")
    given = parser.parse_args(arguments)
    try:
        import constriction  # noqa: F401
    except ModuleNotFoundError:
        raise UserError(f"{verb} needs constriction; pip install 'stlm[eval]'") from None
    try:
        data = given.file.read_bytes()
    except OSError as error:
        raise UserError(f"{given.file}: cannot be read ({error.strerror})") from None
    check_file(given.output, given.force, given.file)
    console = Console()
    # on the CPU, because a GPU may add numbers in another order each time
    scorer = NativeScorer.of(given.run, find_checkpoint(given.run), torch.device("cpu"))
    bar, advance = scoring_bar(console, f"{verb} {given.file.name}")
    try:
        with bar:
            result = work(scorer, data, advance)
    except UserError as error:
        raise UserError(f"{given.file}: {error}") from None
    write_bytes_whole(given.output, result)
    return scorer, data, result, console
