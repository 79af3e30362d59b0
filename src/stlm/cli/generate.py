"""``stlm generate``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

from stlm.cli.device import take_device
from stlm.cli.parser import Parser
from stlm.cli.streams import is_utf8
from stlm.config.bounds import Layers, Range, Seed, Share, hints_of
from stlm.errors import UserError
from stlm.generate.sampling import Sampling
from stlm.generate.speculate import write_speculating
from stlm.generate.writer import characters, write
from stlm.train.device import check_device, placed
from stlm.train.folder import find_checkpoint


def run(arguments: list[str]) -> int:
    wanted, arguments = take_device(arguments)
    parser, sampling = Parser("generate"), hints_of(Sampling)
    parser.text("run")
    parser.add_argument("prompt")
    parser.number("--max-bytes", Annotated[int, Range(1, 10**9)], 500)
    parser.number("--temperature", sampling["temperature"], 0.8)
    parser.number("--top-p", sampling["top_p"], 1.0)
    parser.number("--min-p", sampling["min_p"], 0.0)
    parser.number("--seed", Seed, 0)
    parser.number("--speculate", Annotated[int, Range(1, 1000)])
    parser.number("--draft-layer", Layers)
    parser.number("--exit-threshold", Share)
    given = parser.parse_args(arguments)
    how = Sampling(given.temperature, given.top_p, given.min_p)
    check_device(wanted)
    checkpoint = find_checkpoint(given.run)
    model = placed(checkpoint.build_model(), checkpoint.tokenizer, wanted)
    if given.exit_threshold is not None:
        if model.trunk.exit_threshold is None:
            raise UserError(f"--exit-threshold: {given.run} has no early exits; train with --model.depth early_exit")
        model.trunk.exit_threshold = given.exit_threshold
    prompt = given.prompt.encode("utf-8", errors="surrogateescape")
    if given.speculate is None:
        pieces = write(model, checkpoint.tokenizer, prompt, given.max_bytes, how, given.seed)
    else:
        pieces = write_speculating(model, checkpoint.tokenizer, prompt, given.max_bytes, how, given.seed, given.speculate,
                                   given.draft_layer)
    _show(prompt, pieces)
    return 0


def _show(prompt: bytes, pieces: Iterator[bytes]) -> None:
    """Write the text as it comes: its own bytes, because it may begin inside a character of the prompt. Where the output isn't
    UTF-8, whole characters are written instead.
    """
    out = sys.stdout
    if is_utf8(out.encoding):
        out.flush()
        for piece in pieces:
            out.buffer.write(piece)
            out.buffer.flush()
    else:
        for text in characters(pieces, prompt):
            out.write(text)
            out.flush()
    out.write("\n")
