"""What Apple GPUs lack: every preset and every kind can run there, and what can't is found and named."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import pytest
import torch
import torchgen

from stlm.config.slot import kinds, resolve
from stlm.model.embedding import ngrams
from stlm.model.lm import LM
from stlm.objective import ObjectiveConfig
from stlm.optim import muon
from stlm.text.tokenizer import subword
from stlm.train import apple
from stlm.train.apple import NEAR, parts_of, why_not_read
from stlm.train.apple_operations import COMPOSED, KERNELS, OPERATIONS, READ_FROM
from stlm.train.apple_training import why_not_train
from stlm.train.presets import PRESETS, demo
from stlm.train.run_config import RunConfig
from tests.cells import CELLS, SLOTS
from tests.conftest import small_config

CPU = torch.device("cpu")
LIST = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"


def small(name: str) -> RunConfig:
    """A preset with the same parts, and small."""
    run = PRESETS[name]()
    model = run.model
    tables = {"rows": 64} if hasattr(model.embedding, "rows") else {}
    model = dataclasses.replace(model, dim=8 * getattr(model.trunk, "heads", 8), layers=2, local_dim=64,
                                embedding=dataclasses.replace(model.embedding, **tables))
    return dataclasses.replace(run, model=model)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run_there(name):
    assert why_not_train(small(name), gpu=CPU) is None


@pytest.mark.parametrize("kind", kinds(ObjectiveConfig))
def test_objectives_run_there(kind):
    objective = resolve(ObjectiveConfig, kind, "objective")()
    assert why_not_train(dataclasses.replace(small("demo"), objective=objective), gpu=CPU) is None


@pytest.mark.parametrize("name", ["demo", "10m"])
def test_as_they_are(name):
    assert why_not_train(PRESETS[name](), gpu=CPU) is None


def test_every_kind_runs_there():
    seen = set[tuple[str, str]]()
    for cell in CELLS:
        kinds_here = set(zip(SLOTS, cell, strict=False))
        if kinds_here <= seen:
            continue
        seen |= kinds_here
        run = dataclasses.replace(demo(), model=small_config(cell), optim=muon.Config())
        if cell[0] == "subword":
            run = dataclasses.replace(run, data=dataclasses.replace(run.data, tokenizer=subword.Config(vocab_size=300)))
        assert why_not_train(run, gpu=CPU) is None, cell


class Broken(ngrams.NGrams):
    """An embedding that needs something else too."""

    further = staticmethod(torch.Tensor.double)

    def forward(self, *given):
        found = super().forward(*given)
        return found + self.further(found.detach()).float()[:, :1, :1]


@dataclasses.dataclass(frozen=True)
class Config(ngrams.Config):
    """This file as a part of one's own."""

    rows: int = 64

    def build(self, dim, tokenizer):
        return Broken(dim, self)


@pytest.mark.parametrize(("further", "needs"), [
    (torch.Tensor.double, "float64, which Apple GPUs don't have"),
    (lambda x: torch.linalg.eigvalsh(x.mT @ x)[..., None], "aten::_linalg_eigh, which isn't known to exist on Apple GPUs")])
def test_what_cannot_run_there_is_named(further, needs, monkeypatch):
    monkeypatch.setattr(Broken, "further", staticmethod(further))
    run, tokenizer = small("demo"), demo().data.tokenizer.outline()
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, embedding=Config()))
    message = f"embedding = {__name__} needs {needs}"
    assert why_not_train(run, gpu=CPU) == message
    assert why_not_read(LM(run.model, tokenizer).eval(), tokenizer, CPU) == message


def test_what_only_the_optimizer_needs_is_found(monkeypatch):
    monkeypatch.setattr(apple, "OPERATIONS", OPERATIONS - {"_fused_adamw_"})
    assert why_not_train(small("demo"), gpu=CPU).startswith("this model needs aten::_fused_adamw_, ")


def test_what_only_the_backward_pass_needs_is_found(monkeypatch):
    monkeypatch.setattr(apple, "OPERATIONS", OPERATIONS - {"_embedding_bag_backward"})
    assert "needs aten::_embedding_bag_backward" in why_not_train(small("demo"), gpu=CPU)


def test_a_gpu_that_fails():
    """The device that has no numbers stands for one on which an operation fails."""
    assert why_not_train(small("demo"), gpu=torch.device("meta")).startswith("a small step fails there (")


@pytest.mark.parametrize(("off", "message"), [(NEAR / 9, None), (2.0, "this Apple GPU computes other scores than the CPU")])
def test_a_gpu_that_computes_something_else(off, message, monkeypatch):
    """The embedding is used four times on the CPU, and then gives something else."""
    calls = itertools.count()
    monkeypatch.setattr(Broken, "further", lambda self, x: torch.zeros_like(x) + (off if next(calls) >= 4 else 0))
    run, tokenizer = small("demo"), demo().data.tokenizer.outline()
    model = LM(dataclasses.replace(run.model, embedding=Config()), tokenizer).eval()
    assert why_not_read(model, tokenizer, CPU) == message


def test_an_older_pytorch(monkeypatch):
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.9.1"))
    assert why_not_train(demo(), gpu=CPU) == f"Apple GPUs need PyTorch {READ_FROM} or newer, and this is 2.9.1"


def test_several_processes():
    assert why_not_train(demo(), processes=2, gpu=CPU) == "several processes can't exchange gradients there"


def test_random_numbers_stay_the_same():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    why_not_train(small("demo"), gpu=CPU)
    assert torch.rand(1) == expected


def test_names_of_parts():
    found = parts_of(demo())
    assert found["stlm.nn.block.attention"] == "trunk = attention"  # the first: the local blocks are of that kind too
    assert found["stlm.optim.adamw"] == "optim = adamw" and found["stlm.nn.ffn.relu2"] == "ffn = relu2"


@pytest.mark.skipif(not LIST.exists(), reason="this PyTorch comes without its list of operations")
def test_the_list_is_pytorchs_own():
    """Each name is there, for MPS or for all devices. It fails if a newer PyTorch takes one away."""
    entries = {}
    for part in re.split(r"\n(?=- func: )", LIST.read_text()):
        if begin := re.match(r"- func: ([\w.]+)\(", part):
            entries[begin[1]] = part

    def keys(name: str) -> set[str]:
        found = {key.strip() for line in re.findall(r"\n    ([\w, ]+): \S", entries[name]) for key in line.split(",")}
        other = re.search(r"\n  structured_delegate: (\S+)", entries[name])
        return found | keys(other[1]) if other else found

    assert [name for name in KERNELS if "MPS" not in keys(name)] == []
    assert [name for name in COMPOSED if not any(key.startswith("Composite") for key in keys(name))] == []
    assert {"_cummax_helper", "addmv", "_index_put_impl_", "sort.stable"} <= set(KERNELS)
