"""Several processes train the model that one trains: the same weights after the same steps, whoever goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from stlm.cli.processes import free_port
from stlm.config.decode import encode
from stlm.model.patching import entropy
from stlm.train.checkpoint import list_checkpoints, open_checkpoint

ROOT = Path(__file__).parent.parent.parent
TRAIN = {"seq_len": 32, "batch_size": 8, "warmup": 2, "precision": "fp32", "compile": "off", "checkpoint_every": 1000}
MODEL = {"dim": 16, "layers": 2, "trunk": {"heads": 2}, "local_dim": 8, "encoder_layers": 1, "decoder_layers": 1}


def chain(kind: str, *bases: str) -> dict[str, Any]:
    """An objective that is added to the next one, and so on."""
    return {"kind": kind, **({"base": chain(*bases)} if bases else {})}


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "pointer and recall": {"model": {"copying": "pointer", "embedding": {"kind": "recall", "rows": 64}}},
    "dynamic": {"model": {"patching": {"kind": "dynamic", "target": 3}}},
    "entropy": {"model": {"patching": {"kind": "entropy", "dim": 8, "layers": 1, "threshold": 3.0}}},
    "mixture": {"model": {"layers": 4, "depth": "mixture"}},
    "skip": {"model": {"layers": 4, "depth": "skip"}},
    "early exits": {"model": {"layers": 4, "depth": {"kind": "early_exit", "dropout": 0.4}}},
    "sharing with adaptors": {"model": {"layers": 4, "sharing": {"kind": "cycle", "rank": 2, "own_norms": True,
                                                                 "own_scales": True, "loop_from": 0.2}}},
    "one ffn": {"model": {"layers": 4, "sharing": "ffn"}},
    "accumulation": {"train": {"grad_accum": 2}},
    "ema": {"train": {"averaging": {"kind": "ema", "decay": 0.9}}},
    "tail": {"train": {"averaging": {"kind": "tail", "share": 0.7}}},
    "epochs": {"train": {"averaging": {"kind": "epochs", "n": 2}}},
    "muon": {"optim": "muon"},
    "muon with all": {"optim": {"kind": "muon", "blocks": 2, "every": 3, "normalize": True, "cautious": True,
                                "coefficients": "polar_express", "local_lr_mult": 2.0}},
    "soap": {"optim": {"kind": "soap", "every": 3, "lr": 1e-3}},
    "muon and soap": {"optim": {"kind": "muon", "local": "soap"}, "train": {"weight_decay_schedule": "triangle"}},
    "cautious": {"optim": {"kind": "adamw", "cautious": True, "base_width": 8}, "train": {"schedule": "cosine"}},
    "two objectives": {"objective": "mix"},
    "many objectives": {"objective": chain("z_loss", "unlikelihood", "byte_order", "next_thought", "next_latent", "reconstruct",
                                           "prefix", "multi_byte", "masked_next")},
    "spans": {"objective": {"kind": "span", "ratio": 0.9, "final_ratio": 0.1}},
    "residual in loops": {"model": {"layers": 4, "sharing": {"kind": "all", "loop_from": 0.4}, "depth": {
        "kind": "residual", "unet": True, "value_residual": True}}},
    "residual": {"model": {"layers": 4, "head": "late", "trunk": {"heads": 2, "gates": True}, "depth": {
        "kind": "residual", "unet": True, "ngrams": 64, "values": 64, "value_residual": True}}},
    "dropout": {"train": {"grad_accum": 2, "dropout": {"embedding": 0.1, "residual": 0.1, "attention": 0.1, "layer": 0.1}}},
    "growing": {"batches": {"kind": "text", "first_batch": 0.5, "first_length": 0.25}, "train": {"grad_accum": 2}},
}


def described(case: str, steps: int, reader: Path) -> dict[str, Any]:
    more = CASES[case]
    model = {**MODEL, **more.get("model", {})}
    if case == "entropy":
        model["patching"] = {**model["patching"], "run": str(reader)}
    return {**more, "model": model, "train": {**TRAIN, "steps": steps, **more.get("train", {})}}


def train(n: int, runs: list[dict[str, Any]], file: Path) -> None:
    """Carry out runs one after the other, in ``n`` processes."""
    file.write_text(json.dumps(runs))
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(n),
              "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, "-m", "tests.processes.many", str(file)], cwd=ROOT,
                                  env={**shared, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True) for rank in range(n)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * n, said


def runs_of(folder: Path, cases: Iterable[str], steps: int, stop: int, sharded: str) -> list[dict[str, Any]]:
    """A run of each case, and before them the small model that `entropy` needs."""
    small = {"model": encode(entropy.reader(8, 1)), "train": {**TRAIN, "steps": 30}, "optim": {"lr": 0.01}}
    reader = {"folder": str(folder / "reader"), "config": small, "stop": 30, "sharded": "off"}
    return [*([reader] if "entropy" in cases else []),
            *({"folder": str(folder / name_of(case)), "config": described(case, steps, folder / "reader"), "stop": stop,
               "sharded": sharded} for case in cases)]


def name_of(case: str) -> str:
    return case.replace(" ", "_")


def weights(folder: Path, case: str) -> dict[str, torch.Tensor]:
    """All that the last checkpoint of a run holds: weights, averages and the optimizer's state."""
    last = list_checkpoints(folder / name_of(case) / "checkpoints")[-1]
    found = {f"{file.name} {name}": value for file in sorted(last.glob("*.safetensors"))
             for name, value in safetensors.torch.load_file(file).items()}
    state = torch.load(last / "optimizer.pt", weights_only=True)
    for number, optimizer in enumerate(state["optimizers"]):
        for parameter, values in optimizer["state"].items():
            found |= {f"{number} {parameter} {name}": value for name, value in values.items() if torch.is_tensor(value)}
    return found


def check_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], **limits: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, msg=lambda text, name=name: f"{name}: {text}", **limits)


WAYS = {  # of training a run: by how many processes (0: several), and whether each has only a part of the weights; by halves
    "several": [(0, "off")], "parts": [(0, "on")],
    "several, then one": [(0, "off"), (1, "off")], "parts, then one": [(0, "on"), (1, "off")],
    "one, then several": [(1, "off"), (0, "off")], "one, then parts": [(1, "off"), (0, "on")],
    "several twice": [(0, "off"), (0, "off")], "parts twice": [(0, "on"), (0, "on")],
}
ORDER = [(1, 0), (0, 0), (0, 1), (1, 1)]  # of processes and halves, so that what goes on has begun


def trained(folder: Path, cases: Iterable[str], steps: int, n: int, ways: Iterable[str] = WAYS) -> dict[str, Path]:
    """Cases trained by one process, and in these ways by ``n``."""
    plan = {"one": [(1, "off")], **{way: WAYS[way] for way in ways}}
    for count, half in ORDER:
        runs = [run for way, halves in plan.items() if len(halves) > half and halves[half][0] == count
                for run in runs_of(folder / way, cases, steps, steps if half == len(halves) - 1 else steps // 2,
                                   halves[half][1])]
        if runs:
            train(count or n, runs, folder / "runs.json")
    return {path.name: path for path in folder.iterdir() if path.is_dir()}


FEW, FEW_WAYS = ("early exits", "tail"), ("several", "parts")  # daily


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> dict[str, Path]:
    return trained(tmp_path_factory.mktemp("few"), FEW, 8, 2, FEW_WAYS)


@pytest.mark.parametrize("way", FEW_WAYS)
def test_several_processes_train_what_one_trains(few, way):
    for case in FEW:
        check_same(weights(few["one"], case), weights(few[way], case), rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_several_processes_find_the_rate_that_one_finds(tmp_path):
    """And go on with it."""
    config = {**described("default", 240, tmp_path), "optim": {"lr": "auto"}}
    for n, way in ((1, "off"), (2, "off"), (2, "on")):
        run = {"folder": str(tmp_path / f"{n}{way}" / "default"), "config": config, "sharded": way}
        train(n, [{**run, "stop": 2}, {**run, "stop": 4}] if n == 2 else [{**run, "stop": 4}], tmp_path / "runs.json")
    one, *others = (open_checkpoint(list_checkpoints(tmp_path / name / "default" / "checkpoints")[-1])
                    for name in ("1off", "2off", "2on"))
    for other in others:
        assert other.config.optim.lr == one.config.optim.lr != "auto"
        assert {name: other.counters[name] for name in ("n_bytes", "searched")} == {
            name: one.counters[name] for name in ("n_bytes", "searched")}
    for name in ("2off", "2on"):
        check_same(weights(tmp_path / "1off", "default"), weights(tmp_path / name, "default"), rtol=1e-6, atol=1e-9)


STEPS = int(os.environ.get("STLM_STEPS", "12"))  # by hand: 200, which takes ten minutes
# cases that are trained in every way: their state is more than weights and moments, or changes during training
IN_EVERY_WAY = ("default", "early exits", "muon", "tail", "many objectives", "growing")
OTHERS = [case for case in CASES if case not in IN_EVERY_WAY]
MOST = ("several", "parts", "parts, then one", "several twice")  # ways that the others are trained in
BY_FOUR = ("default", "early exits", "muon", "many objectives", "dropout")  # four processes add up in another order than two


@pytest.fixture(scope="module")
def by_two(tmp_path_factory) -> dict[str, Path]:
    return trained(tmp_path_factory.mktemp("two"), OTHERS, STEPS, 2, MOST)


@pytest.fixture(scope="module")
def in_every_way(tmp_path_factory) -> dict[str, Path]:
    return trained(tmp_path_factory.mktemp("all"), IN_EVERY_WAY, STEPS, 2)


@pytest.fixture(scope="module")
def by_four(tmp_path_factory) -> dict[str, Path]:
    return trained(tmp_path_factory.mktemp("four"), BY_FOUR, STEPS, 4, MOST)


@pytest.mark.slow
@pytest.mark.parametrize("case", OTHERS)
def test_two_processes_train_the_other_cases(by_two, case):
    check_ways(by_two, case, MOST)


@pytest.mark.slow
@pytest.mark.parametrize("case", IN_EVERY_WAY)
def test_two_processes_train_in_every_way(in_every_way, case):
    check_ways(in_every_way, case, WAYS)


@pytest.mark.slow
@pytest.mark.parametrize("case", BY_FOUR)
def test_four_processes_do_too(by_four, case):
    check_ways(by_four, case, MOST)


def check_ways(everything: dict[str, Path], case: str, ways: Iterable[str]) -> None:
    """Stopped and gone on with by others or not. As many processes as before go on exactly. Muon orthogonalises in single
    precision, and SOAP's bases hang on small differences of eigenvalues.
    """
    limits = {"rtol": 1e-3, "atol": 1e-5} if "muon" in case or "soap" in case else {"rtol": 1e-6, "atol": 1e-8}
    for way in ways:
        check_same(weights(everything["one"], case), weights(everything[way], case), **limits)
        if way.endswith(" twice"):
            check_same(weights(everything[way.removesuffix(" twice")], case), weights(everything[way], case), rtol=0, atol=0)
