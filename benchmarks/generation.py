"""The speed of generation, compared with Hugging Face `generate` on a byte-level Llama of the same size.

    python -m benchmarks generation [--preset 10m] [--bytes 256] [--pairs 5] [--threads 1 2]

Both have random weights and sample with temperature 1 after the same prompt, batch 1, float32, with their caches. Our model is
forced to write real text of the built-in corpus: each byte is sampled and then replaced by the text's next byte. The reason is
that its cost depends on where patches end; the Llama's cost doesn't depend on the bytes. The two take turns. The result is the
ratio of each pair, because absolute times drift with the machine.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from benchmarks import common
from benchmarks.llama import TOKENIZER, llama_of
from stlm.data.batch import Inputs
from stlm.generate import writer
from stlm.generate.sampling import Sampling
from stlm.model.count import count
from stlm.model.lm import LM
from stlm.text.world import write_story
from stlm.train.presets import PRESETS


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks generation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="10m", choices=list(PRESETS))
    parser.add_argument("--bytes", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args(arguments)
    model = LM(PRESETS[given.preset]().model, TOKENIZER).eval()
    counted = count(model)
    llama = llama_of(counted.unique).eval()
    size = sum(p.numel() for p in llama.parameters())
    text = "".join(write_story(0, index).text for index in range(8)).encode()
    prompt, rest = text[:100], text[100:100 + given.bytes]
    record: dict[str, Any] = {"question": "How many bytes a second are written, batch 1, float32?", "preset": given.preset,
                              "parameters": {"stlm": counted.unique, "Llama": size}, "bytes": given.bytes, "threads": {}}
    rows = []
    for threads in given.threads:
        torch.set_num_threads(threads)
        pairs = [(common.timed(lambda: ours(model, prompt, rest)), common.timed(lambda: theirs(llama, prompt, given.bytes)))
                 for _ in range(given.pairs + 1)][1:]
        ratio = common.spread(their / our for our, their in pairs)
        our, their = (common.spread(given.bytes / t for t in times) for times in zip(*pairs, strict=True))
        floor = common.ceilings()["memory_gbytes"] * 1e9 / bytes_read(model, rest)
        record["threads"][threads] = {"stlm": our, "Llama": their, "times_as_fast": ratio, "memory_floor": floor}
        rows.append([str(threads), f"{our['mean']:.0f}", f"{their['mean']:.0f}", common.shown(ratio), f"{floor:,.0f}",
                     f"{our['mean'] / floor:.1%}"])
    common.save(f"generation-{given.preset}", record)
    common.print_table(f"writing with {given.preset}, bytes a second",
                       ["threads", "stlm", "Hugging Face Llama", "times as fast", "memory floor", "of it"], rows)


def bytes_read(model: LM, text: bytes) -> float:
    """Bytes of weights that are read from memory for each byte of ``text``. The trunk's are read once per patch, of hash tables
    only single rows, and all others at each byte.
    """
    tokens = torch.tensor([[TOKENIZER.bos, *text]])
    patches = float(model(Inputs(tokens)).ends.sum()) / tokens.shape[1]
    trunk, tables = (4 * sum(p.numel() for p in part.parameters()) for part in (model.trunk, model.embedding))
    return trunk * patches + 4 * sum(p.numel() for p in model.parameters()) - trunk - tables


def ours(model: LM, prompt: bytes, rest: bytes) -> None:
    following = iter(rest)
    real = writer.draw

    def forced(*arguments: object) -> int:
        real(*arguments)  # type: ignore[arg-type]
        return next(following)

    writer.draw = forced  # type: ignore[assignment]
    try:
        for _ in writer.write(model, TOKENIZER, prompt, len(rest), Sampling(1.0)):
            pass
    finally:
        writer.draw = real


def theirs(llama: torch.nn.Module, prompt: bytes, n: int) -> None:
    inputs = torch.tensor([[TOKENIZER.bos, *prompt]])
    with torch.no_grad():
        llama.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=n, do_sample=True,  # type: ignore
                       temperature=1.0, top_k=0, pad_token_id=TOKENIZER.bos)
