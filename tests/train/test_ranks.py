"""Several processes train the model that one trains: the same weights after the same steps, whoever goes on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from stlm.config.decode import encode
from stlm.model.patching.entropy import reader
from stlm.train.checkpoint import list_checkpoints

ROOT = Path(__file__).parent.parent.parent
TRAIN = {"seq_len": 32, "batch_size": 8, "warmup": 2, "precision": "fp32", "compile": "off", "checkpoint_every": 1000}
MODEL = {"dim": 16, "layers": 2, "trunk": {"heads": 2}, "local_dim": 8, "encoder_layers": 1, "decoder_layers": 1}
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
    "ema": {"train": {"ema": 0.9}},
    "muon": {"optim": "muon"},
    "two objectives": {"objective": "mix"},
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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(n), "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, "-m", "tests.train.many", str(file)], cwd=ROOT,
                                  env={**shared, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True) for rank in range(n)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * n, said


def runs_of(folder: Path, cases: Iterable[str], steps: int, stop: int, sharded: str) -> list[dict[str, Any]]:
    """A run of each case, and before them the small model that `entropy` needs."""
    small = {"model": encode(reader(8, 1)), "train": {**TRAIN, "steps": 30}, "optim": {"lr": 0.01}}
    return [{"folder": str(folder / "reader"), "config": small, "stop": 30, "sharded": "off"},
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


def trained(folder: Path, cases: Iterable[str], steps: int, n: int) -> dict[str, Path]:
    """Cases trained in several ways: by one process; by ``n``, which have all weights, or parts of them; and by other processes
    in the second half than in the first.
    """
    def runs(way: str, until: int, sharded: str = "off") -> list[dict[str, Any]]:
        return runs_of(folder / way, cases, steps, until, sharded)

    half, file = steps // 2, folder / "runs.json"
    train(1, runs("one", steps) + runs("one, then several", half) + runs("one, then parts", half), file)
    train(n, runs("several", steps) + runs("parts", steps, "on") + runs("several, then one", half) +
          runs("parts, then one", half, "on") + runs("several twice", half) + runs("parts twice", half, "on"), file)
    train(1, runs("several, then one", steps) + runs("parts, then one", steps), file)
    train(n, runs("one, then several", steps) + runs("one, then parts", steps, "on") + runs("several twice", steps) +
          runs("parts twice", steps, "on"), file)
    return {path.name: path for path in folder.iterdir() if path.is_dir()}


WAYS = ("several", "parts", "several, then one", "parts, then one", "one, then several", "one, then parts")
FEW = ("default", "skip", "early exits", "ema")  # every day; all of them among the slow cases


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> dict[str, Path]:
    return trained(tmp_path_factory.mktemp("few"), FEW, 8, 2)


@pytest.mark.parametrize("way", WAYS)
def test_several_processes_train_what_one_trains(few, way):
    for case in FEW:
        check_same(weights(few["one"], case), weights(few[way], case), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("way", ["several", "parts"])
def test_going_on_with_as_many_is_exact(few, way):
    for case in FEW:
        check_same(weights(few[way], case), weights(few[f"{way} twice"], case), rtol=0, atol=0)


@pytest.fixture(scope="module", params=[2, 4])
def everything(request, tmp_path_factory) -> dict[str, Path]:
    return trained(tmp_path_factory.mktemp("all"), CASES, 200, request.param)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_hundred_steps(everything, case):
    """Muon orthogonalises in single precision."""
    limits = {"rtol": 1e-3, "atol": 1e-5} if case == "muon" else {"rtol": 1e-6, "atol": 1e-8}
    for way in WAYS:
        check_same(weights(everything["one"], case), weights(everything[way], case), **limits)
    for way in ("several", "parts"):
        check_same(weights(everything[way], case), weights(everything[f"{way} twice"], case), rtol=0, atol=0)
