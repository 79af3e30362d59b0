"""Golden runs: what presets, cells that cover every slot, scoring, packing, drafting and resuming come to.

    python -m tests.golden.record            # compare with golden.json, to the last bit
    python -m tests.golden.record --write    # record anew, after a change that is meant to change figures

Sums are added in another order on another processor, so the last bit is only the same on the machine that recorded; the test
beside this file allows for that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stlm.config.decode import decode
from stlm.data.shards import Corpus, Shard
from stlm.evaluate import archive
from stlm.evaluate.evaluation import Evaluation
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.task import find
from stlm.generate.sampling import Sampling
from stlm.generate.speculate import write_speculating
from stlm.generate.writer import write
from stlm.text.tokenizer import TokenizerConfig
from stlm.text.world import write_story
from stlm.train.build import build_run
from stlm.train.folder import RunFolder, find_checkpoint, read_lines
from stlm.train.loop import Callback, Trainer
from stlm.train.presets import PRESETS
from stlm.train.run_config import RunConfig

FILE = Path(__file__).with_name("golden.json")
STEPS, SEQ, ROWS = 20, 128, 2
LARGE = ("50m", "100m", "50m-shared", "100m-shared", "paper")  # too slow for every day
ATTENTION = {"kind": "attention", "heads": 2}
CELLS: dict[str, dict[str, Any]] = {
    "stride": {
        "model": {"dim": 32, "layers": 4, "local_dim": 16, "embedding": {"kind": "ngrams", "rows": 200},
                  "trunk": {**ATTENTION, "window": 9, "heads": 4, "kv_heads": 2}, "patching": {"kind": "stride", "stride": 3},
                  "pooling": "mean", "head": "untied", "copying": {"kind": "pointer", "dim": 8},
                  "sharing": {"kind": "cycle", "rank": 2, "own_norms": True}, "depth": "early_exit"}, "optim": "muon"},
    "whitespace": {
        "model": {"dim": 32, "layers": 4, "local_dim": 16, "embedding": {"kind": "recall", "rows": 200, "window": 64},
                  "trunk": {"kind": "linear", "heads": 2, "key_dim": 8, "chunk": 8}, "local": {**ATTENTION, "window": 9},
                  "pooling": {"kind": "attention", "heads": 2}, "copying": "pointer", "sharing": {"kind": "ffn", "groups": 2},
                  "depth": "mixture"}, "optim": {"kind": "adamw", "base_width": 16, "local_lr_mult": 2.0}},
    "dynamic": {
        "model": {"dim": 32, "layers": 2, "local_dim": 16, "trunk": ATTENTION, "local": {"kind": "linear", "heads": 2},
                  "patching": {"kind": "dynamic", "lr_mult": 0.5}, "pooling": "last",
                  "sharing": {"kind": "adjacent", "own_scales": True}}},
    "entropy": {
        "model": {"dim": 32, "layers": 3, "local_dim": 16, "embedding": {"kind": "ngrams", "rows": 200}, "trunk": "conv",
                  "patching": {"kind": "entropy", "dim": 8, "layers": 1}, "pooling": "mean", "tie_local": True,
                  "sharing": {"kind": "all", "loop_from": 0.5}, "depth": "skip"}},
    "subword": {
        "data": {"tokenizer": {"kind": "subword", "vocab_size": 300}},
        "model": {"dim": 32, "layers": 2, "local_dim": 16, "trunk": ATTENTION, "patching": "subword", "decoder_layers": 0,
                  "head": {"kind": "parallel", "slots": 6, "layers": 1}},
        "train": {"grad_accum": 2, "averaging": {"kind": "ema", "decay": 0.9}}},
    "none": {
        "data": {"tokenizer": {"kind": "bpe", "vocab_size": 300}},
        "model": {"dim": 32, "layers": 2, "local_dim": 32, "trunk": {**ATTENTION, "ffn": "swiglu"}, "patching": "none",
                  "encoder_layers": 0, "decoder_layers": 0, "pooling": "last", "head": "tied"},
        "objective": {"kind": "multi_byte", "further": 2}},
}
WATCHED = "whitespace"  # the cell that is scored, packed, drafted with and resumed


def machine() -> str:
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} torch {torch.__version__}"


def make_corpus(config: TokenizerConfig) -> Corpus:
    """Stories of the built-in world whose rows have no padding: sums of a power of two scale without rounding."""
    texts = [write_story(0, number).text.encode() for number in range(30)]
    tokenizer = config.build(texts)
    train, held = Shard.of(texts[:26], tokenizer), Shard.of(texts[26:], tokenizer)
    total = len(train.tokens) + train.n_documents
    cut = len(train.tokens) - total % SEQ
    starts = train.starts.copy()
    starts[-1] = cut
    assert starts[-2] < cut
    train = dataclasses.replace(train, tokens=np.asarray(train.tokens[:cut]), starts=starts)
    return Corpus("golden", "golden", tokenizer, train, held, None)


def shortened(config: RunConfig, **train: Any) -> RunConfig:
    """A run of a few small steps, in float32 and eager."""
    own = {"steps": STEPS, "minutes": None, "megabytes": None, "teraflops": None, "seq_len": SEQ, "batch_size": ROWS,
           "warmup": 5, "precision": "fp32", "compile": "off", "log_every": 1, "checkpoint_every": 1000, **train}
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **own))


def cell_config(name: str) -> RunConfig:
    cell = CELLS[name]
    return shortened(decode(RunConfig, {**cell, "train": {"steps": STEPS, **cell.get("train", {})}}, RunConfig()))


def make_trainer(name: str, config: RunConfig, callbacks: list[Callback] | None = None, resume: bool = False) -> Trainer:
    folder = RunFolder(Path("runs") / name)
    folder.create(config)
    trainer = build_run(folder, config, make_corpus(config.data.tokenizer), torch.device("cpu"), callbacks or [],
                      folder.latest() if resume else None)
    if not resume and name in CELLS:
        draw_weights(trainer)
    return trainer


@torch.no_grad()
def draw_weights(trainer: Trainer) -> None:
    """Cells begin away from zero, in an order that doesn't depend on where a part stands."""
    generator, parts = torch.Generator().manual_seed(0), [*trainer.model.named_parameters()]
    head = [item for item in parts if item[0].startswith("head.")]
    parts = [item for item in parts if not item[0].startswith("head.")]
    back = next((i for i, item in enumerate(parts) if item[0].startswith("backbone.from_trunk.")), 0)
    for _, parameter in [*parts[:back], *head, *parts[back:], *trainer.objective.named_parameters()]:
        if parameter.requires_grad:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def weights_of(trainer: Trainer) -> dict[str, Any]:
    """A hash of all weights, whatever their names, and their norm."""
    values = [value.contiguous() for part in (trainer.model, trainer.objective) for value in part.state_dict().values()]
    each = sorted(hashlib.sha256(value.numpy().tobytes()).hexdigest() for value in values)
    norm = torch.stack([value.double().square().sum() for value in values]).sum().sqrt()
    return {"sha256": hashlib.sha256("".join(each).encode()).hexdigest()[:16], "norm": float(norm)}


def trained(name: str, config: RunConfig) -> dict[str, Any]:
    trainer = make_trainer(name, config)
    trainer.run()
    lines = read_lines(trainer.folder.metrics)
    return {"losses": [line["train/loss"] for line in lines if "train/loss" in line],
            "bits": [line["train/bits_per_byte"] for line in lines if "train/loss" in line], **weights_of(trainer)}


def cell(name: str) -> dict[str, Any]:
    if name == "entropy":
        from stlm.model.patching.entropy import reader
        make_trainer("reader", dataclasses.replace(shortened(RunConfig(), steps=4), model=reader(8, 1))).run()
    return trained(name, cell_config(name))


def used() -> dict[str, Any]:
    """Scores, a packed file, texts and drafts of a trained cell."""
    checkpoint = find_checkpoint(WATCHED)
    scorer = NativeScorer.of(WATCHED, checkpoint, torch.device("cpu"))
    world = find("world").run(Evaluation(scorer=scorer, limit=60, seed=0))
    text = write_story(0, 99).text.encode()
    packed = archive.pack(scorer, text)
    assert archive.unpack(scorer, packed) == text
    model, tokenizer = checkpoint.build_model(), checkpoint.tokenizer
    early = find_checkpoint("drafts")
    drafter, how = early.build_model(), Sampling(1.0)
    plain, drafted = (b"".join(way(drafter, early.tokenizer, b"Early one", 60, how, 3)) for way in (write, write_speculating))
    return {"world": {key: value for key, value in world.items() if isinstance(value, float)},
            "bits": scorer.log_p_of_documents([text]),
            "zip": hashlib.sha256(packed[archive.HEAD.size:-archive.SUM]).hexdigest()[:16],
            "text": b"".join(write(model, tokenizer, b"Early one", 80, Sampling(0.8), 4)).decode("utf-8"),
            "greedy": b"".join(write(model, tokenizer, b"Early one", 80, Sampling(0.0), 0)).decode("utf-8"),
            "drafted": drafted.decode("utf-8"), "same": plain == drafted}


def drafts() -> dict[str, Any]:
    """A run whose layers all take all patches: what speculation asks for."""
    values = {"model": {**CELLS["stride"]["model"], "layers": 4, "sharing": "none"}, "train": {"steps": STEPS}}
    return trained("drafts", shortened(decode(RunConfig, values, RunConfig())))


def resumed() -> dict[str, Any]:
    """A cell that was stopped in the middle and went on: the weights of the run that never stopped."""
    class Stop(Callback):
        def on_step_end(self, trainer: Trainer) -> None:
            trainer.stop = trainer.step >= 7

    config = cell_config("stride")
    first = make_trainer("cut", config)
    draw_weights(first)
    first.callbacks.append(Stop())
    first.run()
    torch.manual_seed(999)
    again = make_trainer("cut", config, resume=True)
    again.run()
    return weights_of(again)


def presets(large: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    return {f"preset {name}": lambda name=name, make=make: trained(f"preset-{name}", shortened(make()))  # type: ignore[misc]
            for name, make in PRESETS.items() if (name in LARGE) == large}


def cells() -> dict[str, Callable[[], dict[str, Any]]]:
    runs = {f"cell {name}": lambda name=name: cell(name) for name in CELLS}  # type: ignore[misc]
    return {**runs, "drafts": drafts, "used": used, "resumed": resumed}


def main() -> int:
    torch.set_num_threads(1)
    before = json.loads(FILE.read_text()) if FILE.exists() else {}
    found: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, run in {**cells(), **presets(False), **presets(True)}.items():
            if len(words := [word for word in sys.argv[1:] if not word.startswith("--")]) and not any(w in name for w in words):
                continue
            found[name] = run()
            same = before.get(name) == found[name]
            print(f"{name}: {'the same' if same else 'new' if name not in before else report(before[name], found[name])}",
                  flush=True)
    if "--write" in sys.argv:
        FILE.write_text(json.dumps({**before, **found}, indent=1) + "\n")
    return 0


def report(old: dict[str, Any], new: dict[str, Any]) -> str:
    """How far two records are from each other."""
    apart = [max(abs(a - b) for a, b in zip(old[key], new[key], strict=True)) for key in ("losses", "bits") if key in new and
             isinstance(new[key], list) and len(old[key]) == len(new[key])]
    other = [key for key in new if new[key] != old.get(key) and key not in ("losses", "bits")]
    return f"DIFFERS by at most {max(apart, default=0):.1e} in losses, and in {', '.join(other) or 'nothing else'}"


if __name__ == "__main__":
    sys.exit(main())
