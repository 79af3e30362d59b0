"""Continue a text. The trunk runs once a patch; the rest moves on byte by byte from its small memories."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import torch

from stlm.data.batch import Inputs
from stlm.generate.pen import Pen
from stlm.generate.sampling import Sampling, draw
from stlm.model.lm import LM
from stlm.text.codec import Codec

PIECE = 2048  # symbols of a prompt that are read at once: memory stays flat, however long it is


@torch.inference_mode()
def write(model: LM, codec: Codec, prompt: bytes, max_bytes: int, how: Sampling, seed: int = 0,
          cached: bool = True) -> Iterator[bytes]:
    """Yield the bytes that follow ``prompt``, symbol by symbol, until the text ends or ``max_bytes`` are written.

    What is written is valid UTF-8 as a continuation of the prompt, and never stops inside a character.
    cached=False computes everything anew for each symbol: the plain definition, for comparison.
    """
    generator = torch.Generator().manual_seed(seed)
    symbols = [codec.document, *codec.encode(prompt).tolist()]
    cache = model.new_cache(1) if cached else None
    while cache is not None and len(symbols) > PIECE:
        model(Inputs(torch.tensor([symbols[:PIECE]], device=model.device)), cache)
        symbols = symbols[PIECE:]
    pen, new = Pen.after_prompt(codec, prompt, symbols, max_bytes), symbols
    while (allowed := pen.allowed()).any():
        inputs = torch.tensor([new if cached else symbols], device=model.device)
        logits = model(Inputs(inputs), cache).logits[0, -1].cpu()
        symbol = draw(logits, allowed, how, generator)
        if symbol == codec.document:
            return
        if piece := codec.symbol_bytes[symbol]:
            yield piece
        pen, new = pen.after(symbol), [symbol]
        symbols = [*symbols, symbol] if not cached else symbols


def characters(pieces: Iterator[bytes]) -> Iterator[str]:
    """Whole characters of a stream of bytes, each as soon as it's complete."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text
