"""How fast models write: one byte after the other, on one thread of the CPU."""

from __future__ import annotations

import time

from stlm.generate.session import Session
from stlm.model.lm import LM
from stlm.text.tokenizer import Tokenizer
from stlm.text.world import write_story
from stlm.train.machine import one_thread

WRITTEN = 512  # bytes


def bytes_per_second(model: LM, tokenizer: Tokenizer) -> float:
    """The speed with which a model on the CPU writes: for all models the same bytes, which are put in as if they had been
    drawn. On the CPU, wherever a model was trained: a GPU is waited for at every byte, and a machine without one is what
    small models are for.
    """
    text = "\n".join(write_story(0, number).text for number in range(8)).encode()[:WRITTEN]
    with one_thread():
        session, start = Session(model, tokenizer), time.perf_counter()
        for token in [tokenizer.bos, *tokenizer.encode(text).tolist()]:
            session.feed([[token]])
            session.logits().argmax().item()
        return len(text) / (time.perf_counter() - start)
