"""How fast models write: one byte after the other, on one thread of the CPU."""

from __future__ import annotations

import time

import torch

from stlm.data.batch import Inputs
from stlm.model.lm import LM
from stlm.text.codec import Codec
from stlm.text.world import write_story

WRITTEN = 512  # bytes


def bytes_per_second(model: LM, codec: Codec) -> float:
    """The speed with which a model on the CPU writes: for all models the same bytes, which are put in as if they had been
    drawn. On the CPU, wherever a model was trained: a GPU is waited for at every byte, and a machine without one is what
    small models are for.
    """
    text = "\n".join(write_story(0, number).text for number in range(8)).encode()[:WRITTEN]
    symbols, threads = codec.encode(text).tolist(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        cache, start = model.new_cache(1), time.perf_counter()
        with torch.inference_mode():
            for symbol in [codec.document, *symbols]:
                model(Inputs(torch.tensor([[symbol]])), cache).logits.argmax().item()
        return len(text) / (time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
