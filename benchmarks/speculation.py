"""How much faster generation is when the first layers draft and all layers verify.

    python -m benchmarks speculation [--minutes 30] [--draft-layers 2 3 4] [--drafts 4 6 8] [--bytes 192] [--prompts 12]

A deep and narrow model over flat bytes (24 layers of 192, about 10M parameters) is trained three times: with exits after all
layers, with one exit after its third layer, and without exits (`full`), so that its first layers were never trained to predict.
Then each model continues held-out text, batch 1, float32, one thread, in turn without and with speculation. The number of texts
that are equal byte for byte is reported; they differ only where rounding changes a draw. The number of layers that draft and
the number of drafted bytes are chosen on half of the prompts, at temperature 0.8. Ratios are measured on the other half.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from typing import Any

import torch

from benchmarks import common
from benchmarks.llama import TOKENIZER
from stlm.generate.sampling import Sampling
from stlm.generate.speculate import write_speculating
from stlm.generate.writer import write
from stlm.model.lm import LM
from stlm.text.tokenizer import Tokenizer
from stlm.train.folder import find_checkpoint

DEEP = ["--model.layers", "24", "--model.dim", "192", "--model.local-dim", "192", "--model.trunk.heads", "3",
        "--train.compile", "on", "--model.copying", "none", "--model.embedding", "ngrams", "--model.embedding.rows",
        "2048", "--train.sample-every", "100000", "--train.evaluate-every", "500"]
DEPTHS = {"exits everywhere": ["--model.depth", "early_exit"],
          "one after layer 3": ["--model.depth", "early_exit", "--model.depth.exit-layers", "3", "--model.depth.dropout", "0"],
          "full": ["--model.depth", "full"]}
RULE = ("At least 1.4 times as many bytes a second as the same model writes plainly, at temperature 0.8, with what is written "
        "equal.")
CHOOSING = "temperature 0.8"
PROMPT = 96  # bytes of held-out text in a prompt
WAYS = {CHOOSING: Sampling(0.8), "greedy": Sampling(0.0)}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks speculation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--draft-layers", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--drafts", type=int, nargs="+", default=[4, 6, 8])
    parser.add_argument("--bytes", type=int, default=192)
    parser.add_argument("--prompts", type=int, default=12)
    given = parser.parse_args(arguments)
    source = common.real_text("wikipedia_en_2015")
    texts = prompts(source, given.prompts)
    torch.set_num_threads(1)  # for generation; training runs in a process of its own
    record: dict[str, Any] = {"question": "How much faster is writing when the first layers draft?", "rule": RULE, "models": {}}
    rows = []
    for depth, flags in DEPTHS.items():
        run = common.trained("10m-flat", ["--data", source, "--train.minutes", f"{given.minutes:g}", *flags, *DEEP], seed=0)
        checkpoint = find_checkpoint(run["run"])
        model = checkpoint.build_model()
        found: dict[str, Any] = {key: run[key] for key in ("bits_per_byte", "bytes", "seconds", "parameters")}
        found["tried"] = [{"draft_layer": layer, "drafts": drafts, "bytes_per_second": speed(
                               model, checkpoint.tokenizer, given.bytes, texts[::2], layer, drafts)}
                          for layer in given.draft_layers for drafts in given.drafts]
        best = max(found["tried"], key=lambda tried: tried["bytes_per_second"])
        record["models"][depth] = found | {"draft_layer": best["draft_layer"], "drafts": best["drafts"]}
        for way, how in WAYS.items():
            ways = pairs(model, checkpoint.tokenizer, how, given.bytes, texts[1::2], best["draft_layer"], best["drafts"])
            rows.append([f"{depth}, {way}", f"{run['bits_per_byte']:.3f}", str(best["draft_layer"]), str(best["drafts"]),
                         *(f"{ways[side]['mean']:.0f}" for side in ("plain", "speculating")),
                         common.shown(ways["times_as_fast"]), f"{ways['equal']} of {ways['texts']}"])
            record["models"][depth][way] = ways
            common.save("speculation", record)
    common.print_table("writing on one thread, bytes a second",
                       ["", "bits per byte", "layers that draft", "drafts", "plain", "speculating", "times as fast", "equal"],
                       rows)


def prompts(source: str, n: int) -> list[bytes]:
    """Beginnings of the first ``n`` held-out documents that are long enough."""
    documents = common.open_text(source).validation.documents(TOKENIZER)
    long = (text for text in documents if len(text) > 2 * PROMPT)
    return [text[:PROMPT].decode(errors="ignore").encode() for text in itertools.islice(long, n)]


def speed(model: LM, tokenizer: Tokenizer, n: int, texts: list[bytes], layer: int, drafts: int) -> float:
    """Bytes per second with speculation, over all texts."""
    written = list[bytes]()
    taken = sum(common.timed(functools.partial(written.extend, write_speculating(
        model, tokenizer, text, n, WAYS[CHOOSING], seed, drafts, layer))) for seed, text in enumerate(texts))
    return sum(map(len, written)) / taken


def pairs(model: LM, tokenizer: Tokenizer, how: Sampling, n: int, texts: list[bytes], layer: int, drafts: int
          ) -> dict[str, Any]:
    """Bytes per second of both ways, text by text. They alternate in which of them is first."""
    plain, speculating, equal = list[float](), list[float](), 0
    for seed, text in enumerate(texts):
        ways = [write(model, tokenizer, text, n, how, seed),
                write_speculating(model, tokenizer, text, n, how, seed, drafts, layer)]
        written: list[list[bytes]] = [[], []]
        turns = (0, 1) if seed % 2 else (1, 0)
        taken = {way: common.timed(functools.partial(written[way].extend, ways[way])) for way in turns}
        equal += written[0] == written[1]
        if written[0] and written[1]:
            plain.append(sum(map(len, written[0])) / taken[0])
            speculating.append(sum(map(len, written[1])) / taken[1])
    return {"texts": len(texts), "equal": equal, "plain": common.spread(plain), "speculating": common.spread(speculating),
            "times_as_fast": common.spread(b / a for a, b in zip(plain, speculating, strict=True))}
