"""``stlm generate``."""

from __future__ import annotations

import sys

from stlm.cli.runs import Parser
from stlm.errors import UserError
from stlm.generate.sampling import Sampling
from stlm.generate.speculate import write_speculating
from stlm.generate.writer import characters, write
from stlm.train.folder import find_checkpoint
from stlm.train.machine import pick_device


def run(arguments: list[str]) -> int:
    parser = Parser("generate")
    parser.add_argument("run")
    parser.add_argument("prompt")
    parser.add_argument("--max-bytes", type=int, default=500)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--min-p", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speculate", type=int)
    parser.add_argument("--draft-layer", type=int)
    parser.add_argument("--exit-threshold", type=float)
    given = parser.parse_args(arguments)
    if given.max_bytes < 1:
        raise UserError(f"--max-bytes {given.max_bytes}: it has to be 1 or more")
    if given.speculate is not None and given.speculate < 1:
        raise UserError(f"--speculate {given.speculate}: it has to be 1 or more")
    try:
        how = Sampling(given.temperature, given.top_p, given.min_p)
    except ValueError as error:
        raise UserError(str(error)) from None
    checkpoint = find_checkpoint(given.run)
    model = checkpoint.build_model().to(pick_device())
    if given.exit_threshold is not None:
        if model.trunk.exit_threshold is None:
            raise UserError(f"--exit-threshold: {given.run} has no early exits; train with --model.depth early_exit")
        if not 0 <= given.exit_threshold <= 1:
            raise UserError(f"--exit-threshold {given.exit_threshold:g}: it has to lie between 0 and 1")
        model.trunk.exit_threshold = given.exit_threshold
    prompt = given.prompt.encode("utf-8", errors="surrogateescape")
    if given.speculate is None:
        pieces = write(model, checkpoint.tokenizer, prompt, given.max_bytes, how, given.seed)
    else:
        pieces = write_speculating(model, checkpoint.tokenizer, prompt, given.max_bytes, how, given.seed, given.speculate,
                                   given.draft_layer)
    for text in characters(pieces):
        sys.stdout.write(text)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0
