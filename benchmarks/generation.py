"""How fast text is written, beside Hugging Face `generate` on a Llama of the same size over bytes.

    python benchmarks/generation.py [PRESET] [--bytes 256] [--pairs 5] [--threads 1 2] [--json FILE]

Both have random weights and draw with temperature 1 after the same prompt, batch 1, float32, with their caches. Ours is
made to write real text of the built-in corpus (each draw is made, then replaced by the text's next byte), because its
cost depends on where patches end; the Llama's cost depends on no byte. The two take turns; the ratio of each pair is
what counts, since absolute times drift with the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from stlm.generate import writer
from stlm.generate.sampling import Sampling
from stlm.model.count import count
from stlm.model.lm import LM
from stlm.text.codec.bytes import ByteCodec
from stlm.text.world import write_story
from stlm.train.machine import describe
from stlm.train.presets import PRESETS

CODEC = ByteCodec()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="demo", choices=list(PRESETS))
    parser.add_argument("--bytes", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="also write the record there")
    given = parser.parse_args()
    model = LM(PRESETS[given.preset]().model, CODEC).eval()
    size = count(model).unique
    llama = llama_of(size)
    text = "".join(write_story(0, index).text for index in range(8)).encode()
    prompt, rest = text[:100], text[100:100 + given.bytes]
    print(f"stlm {given.preset}: {size:,} parameters; Llama: {sum(p.numel() for p in llama.parameters()):,}")
    record: dict = {"preset": given.preset, "bytes": given.bytes, **describe(torch.device("cpu")), "threads": {}}
    for threads in given.threads:
        torch.set_num_threads(threads)
        pairs = [(timed(lambda: ours(model, prompt, rest)), timed(lambda: theirs(llama, prompt, given.bytes)))
                 for _ in range(given.pairs + 1)][1:]
        ratios = [their / our for our, their in pairs]
        speeds = [given.bytes / statistics.median(times) for times in zip(*pairs, strict=True)]
        print(f"{threads} thread(s): stlm {speeds[0]:7.0f} B/s   Llama {speeds[1]:7.0f} B/s   "
              f"ratio {statistics.mean(ratios):.2f} +- {statistics.stdev(ratios):.2f} (n = {len(ratios)})")
        record["threads"][threads] = {"stlm": speeds[0], "llama": speeds[1], "ratios": ratios}
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")


def llama_of(size: int) -> torch.nn.Module:
    """A byte-level Llama whose unique parameters come nearest to ``size``, in the shape of a small GPT: 6 layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    def build(width: int) -> torch.nn.Module:
        return LlamaForCausalLM(LlamaConfig(
            vocab_size=CODEC.n_symbols, hidden_size=width, intermediate_size=round(8 / 3 * width / 16) * 16,
            num_hidden_layers=6, num_attention_heads=max(1, width // 64), tie_word_embeddings=True,
            max_position_embeddings=4096, bos_token_id=CODEC.document, eos_token_id=None))

    widths = range(64, 1025, 64)
    with torch.device("meta"):
        sizes = {width: sum(p.numel() for p in build(width).parameters()) for width in widths}
    return build(min(widths, key=lambda width: abs(sizes[width] - size))).eval()


def ours(model: LM, prompt: bytes, rest: bytes) -> None:
    following = iter(rest)
    real = writer.draw

    def forced(*arguments: object) -> int:
        real(*arguments)  # type: ignore[arg-type]
        return next(following)

    writer.draw = forced  # type: ignore[assignment]
    try:
        for _ in writer.write(model, CODEC, prompt, len(rest), Sampling(1.0)):
            pass
    finally:
        writer.draw = real


def theirs(llama: torch.nn.Module, prompt: bytes, n: int) -> None:
    inputs = torch.tensor([[CODEC.document, *prompt]])
    with torch.no_grad():
        llama.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=n, do_sample=True,  # type: ignore
                       temperature=1.0, top_k=0, pad_token_id=CODEC.document)


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
