"""Generation of one text as a stream of bytes."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from stlm.generate import utf8
from stlm.generate.sampling import Sampling
from stlm.generate.session import Session
from stlm.model.lm import LM
from stlm.text.tokenizer import Tokenizer


def write(model: LM, tokenizer: Tokenizer, prompt: bytes, max_bytes: int, how: Sampling, seed: int = 0) -> Iterator[bytes]:
    """Yield the bytes that follow ``prompt``, token by token, until the text ends or ``max_bytes`` are generated.

    The generated text is valid UTF-8 as a continuation of the prompt, and never stops inside a character.
    """
    session = Session(model, tokenizer, how)
    session.prefill([prompt], max_bytes, [seed])
    return stream(session)


def stream(session: Session) -> Iterator[bytes]:
    """Yield the bytes of a session's only text. Bytes that may begin a stop string are held back until that is decided."""
    (text,), shown = session.texts, 0
    while not session.done:
        session.step()
        final = len(text.written) - (0 if text.ended else _held_back(text.written, text.stops))
        if final > shown:
            yield text.written[shown:final]
            shown = final
    if len(text.written) > shown:
        yield text.written[shown:]


def _held_back(data: bytes, stops: tuple[bytes, ...]) -> int:
    """The number of bytes at the end that may be the beginning of a stop string."""
    return max((n for stop in stops for n in range(1, len(stop)) if data.endswith(stop[:n])), default=0)


def characters(pieces: Iterator[bytes], prompt: bytes = b"") -> Iterator[str]:
    """Yield the characters of a stream of bytes, each as soon as it is complete. The first may begin in the prompt."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(utf8.unfinished(prompt))
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text
