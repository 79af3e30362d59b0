"""Continue one text, piece by piece as it's written."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from stlm.generate.sampling import Sampling
from stlm.generate.session import Session
from stlm.model.lm import LM
from stlm.text.tokenizer import Tokenizer


def write(model: LM, tokenizer: Tokenizer, prompt: bytes, max_bytes: int, how: Sampling, seed: int = 0) -> Iterator[bytes]:
    """Yield the bytes that follow ``prompt``, token by token, until the text ends or ``max_bytes`` are written.

    What is written is valid UTF-8 as a continuation of the prompt, and never stops inside a character.
    """
    session = Session(model, tokenizer, how)
    session.prefill([prompt], max_bytes, [seed])
    return stream(session)


def stream(session: Session) -> Iterator[bytes]:
    """The bytes of a session's only text as they come. What may be the beginning of a stop string waits until it's clear."""
    (text,), shown = session.texts, 0
    while not session.done:
        session.step()
        sure = len(text.written) - (0 if text.ended else _waiting(text.written, text.stops))
        if sure > shown:
            yield text.written[shown:sure]
            shown = sure
    if len(text.written) > shown:
        yield text.written[shown:]


def _waiting(data: bytes, stops: tuple[bytes, ...]) -> int:
    """How many bytes at the end may be the beginning of a stop string."""
    return max((n for stop in stops for n in range(1, len(stop)) if data.endswith(stop[:n])), default=0)


def characters(pieces: Iterator[bytes]) -> Iterator[str]:
    """Whole characters of a stream of bytes, each as soon as it's complete."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text
