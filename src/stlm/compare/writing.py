"""The speed at which models generate text: one byte after the other, on one thread of the CPU."""

from __future__ import annotations

import time

from stlm.generate.session import Session
from stlm.model.lm import LM
from stlm.text.tokenizer import Tokenizer
from stlm.text.world import write_story
from stlm.train.machine import one_thread

WRITTEN = 512  # bytes


def bytes_per_second(model: LM, tokenizer: Tokenizer) -> float:
    """The speed of a model on the CPU, in bytes per second. All models write the same bytes instead of sampled
    ones.

    It is measured on the CPU wherever the model was trained. Small models are made for machines without a GPU, and with a GPU
    the waiting time at every byte would dominate.
    """
    text = "\n".join(write_story(0, number).text for number in range(8)).encode()[:WRITTEN]
    with one_thread():
        session, start = Session(model, tokenizer), time.perf_counter()
        for token in [tokenizer.bos, *tokenizer.encode(text).tolist()]:
            session.feed([[token]])
            session.logits().argmax().item()
        return len(text) / (time.perf_counter() - start)
