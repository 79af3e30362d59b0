"""Continue a text. The trunk runs once a patch; the rest moves on byte by byte from its small memories."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import torch

from stlm.data.batch import Inputs
from stlm.generate.constraint import DecodingConstraint
from stlm.generate.sampling import Sampling, draw
from stlm.model.lm import LM
from stlm.text.tokenizer import Tokenizer

PIECE = 2048  # tokens of a prompt that are read at once: memory stays flat, however long it is


@torch.inference_mode()
def write(model: LM, tokenizer: Tokenizer, prompt: bytes, max_bytes: int, how: Sampling, seed: int = 0,
          cached: bool = True) -> Iterator[bytes]:
    """Yield the bytes that follow ``prompt``, token by token, until the text ends or ``max_bytes`` are written.

    What is written is valid UTF-8 as a continuation of the prompt, and never stops inside a character.
    cached=False computes everything anew for each token: the plain definition, for comparison.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens = [tokenizer.bos, *tokenizer.encode(prompt).tolist()]
    cache = model.new_cache(1) if cached else None
    while cache is not None and len(tokens) > PIECE:
        model(Inputs(torch.tensor([tokens[:PIECE]], device=model.device)), cache)
        tokens = tokens[PIECE:]
    constraint, new = DecodingConstraint.after_prompt(tokenizer, prompt, tokens, max_bytes), tokens
    while (allowed := constraint.allowed()).any():
        inputs = torch.tensor([new if cached else tokens], device=model.device)
        logits = model(Inputs(inputs), cache).logits[0, -1].cpu()
        token = draw(logits, allowed, how, generator)
        if token == tokenizer.bos:
            return
        if piece := tokenizer.token_bytes[token]:
            yield piece
        constraint, new = constraint.after(token), [token]
        tokens = [*tokens, token] if not cached else tokens


def characters(pieces: Iterator[bytes]) -> Iterator[str]:
    """Whole characters of a stream of bytes, each as soon as it's complete."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text
