"""Devices: which one is picked, and what depends on it."""

from types import SimpleNamespace

import pytest
import torch

from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.train import machine
from stlm.train.device import check_device, in_double, memory_of, name_of, pick_device
from stlm.train.processes import Processes

APPLE = torch.device("mps")


@pytest.fixture
def hardware(monkeypatch):
    """A function that changes which devices PyTorch sees; the GPUs that were made the current one."""
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)

    def see(gpus: int = 0, apple: bool = False) -> list:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
        return current
    return see


def refused() -> str:
    raise AssertionError("it was asked what an Apple GPU lacks")


@pytest.mark.parametrize(("gpus", "apple", "wanted", "lacks", "expected"), [
    (0, False, "auto", refused, "cpu"), (0, False, "cpu", refused, "cpu"), (2, False, "auto", refused, "cuda"),
    (2, False, "cuda", refused, "cuda"), (2, False, "cuda:1", refused, "cuda:1"), (2, False, "cpu", refused, "cpu"),
    (1, True, "auto", refused, "cuda"), (0, True, "cpu", refused, "cpu"), (0, True, "auto", lambda: None, "mps"),
    (0, True, "auto", lambda: "float64", "cpu"), (0, True, "auto", None, "cpu"), (0, True, "mps", lambda: None, "mps"),
    (0, True, "mps", None, "mps")])
def test_the_device_that_is_picked(gpus, apple, wanted, lacks, expected, hardware):
    """What an Apple GPU lacks is asked only where one would be used, because that takes a while."""
    current = hardware(gpus, apple)
    assert str(pick_device(wanted, lacks)) == expected
    assert [str(device) for device in current] == ([expected] if ":" in expected else [])


@pytest.mark.parametrize(("gpus", "wanted", "message"), [
    (0, "cuda", "PyTorch sees no NVIDIA or AMD GPU here (this PyTorch is built for CPUs only); use --device cpu"),
    (1, "cuda:1", "there is 1 GPU, cuda:0"), (2, "cuda:3", "there are 2 GPUs, cuda:0 and cuda:1"),
    (8, "cuda:9", "there are 8 GPUs, cuda:0 to cuda:7"),
    (0, "mps", "PyTorch sees no Apple GPU here (this PyTorch is built without them); use --device cpu")])
def test_devices_that_are_refused(gpus, wanted, message, hardware, monkeypatch):
    hardware(gpus)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: False)
    for look in (check_device, pick_device):
        with pytest.raises(UserError) as caught:
            look(wanted)
        assert str(caught.value) == f"--device {wanted}: {message}"


def test_a_gpu_that_is_missing_though_pytorch_could_use_one(hardware, monkeypatch):
    hardware()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(UserError, match=r"^--device cuda: PyTorch sees no NVIDIA or AMD GPU here; use --device cpu$"):
        check_device("cuda")


def test_an_apple_gpu_that_lacks_something(hardware):
    hardware(apple=True)
    with pytest.raises(UserError, match=r"^--device mps: depth = mixture needs float64; use --device cpu$"):
        pick_device("mps", lambda: "depth = mixture needs float64")


def test_facts_of_an_apple_gpu(monkeypatch):
    """They come from functions that PyTorch has on every machine, so a wrong name is found here too."""
    waits = []
    for place, name, value in ((torch.backends.mps, "get_name", "Apple M9"), (torch.mps, "recommended_max_memory", 7),
                               (torch.mps, "driver_allocated_memory", 5)):
        monkeypatch.setattr(place, name, lambda value=value: value)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waits.append(1))
    machine.synchronize(APPLE)
    machine.forget_peak_memory(APPLE)
    assert (name_of(APPLE), memory_of(APPLE), machine.peak_memory(APPLE), waits) == ("Apple M9", 7, 5, [1])
    assert machine.describe(APPLE)["device"] == "Apple M9"


def test_facts_of_the_cpu():
    cpu = torch.device("cpu")
    assert name_of(cpu) == "cpu" and memory_of(cpu) > 2**28
    assert in_double(torch.tensor([0.1])).dtype == torch.float64


@pytest.mark.parametrize("fails", ["product", "step"])
def test_no_bf16_where_it_fails(fails, monkeypatch):
    """On an Apple GPU that means fp32; elsewhere it is a fault to be seen."""
    def product(device, precision, n):
        return _tried(precision, fails == "product")

    def step(with_loss, batch, precision):
        return lambda: _tried(precision, fails == "step")

    monkeypatch.setattr(machine, "_product_flops", product)
    monkeypatch.setattr(machine, "step_work", step)
    monkeypatch.setattr(machine, "synchronize", lambda device: None)
    apple, gpu = (SimpleNamespace(device=torch.device(name), zero_grad=lambda set_to_none: None) for name in ("mps", "cuda"))
    assert machine.faster_precision(apple, None) == "fp32"
    with pytest.raises(TypeError, match="BFloat16"):
        machine.faster_precision(gpu, None)


def _tried(precision: str, fails: bool) -> float:
    if fails and precision == "bf16":
        raise TypeError("BFloat16 is not supported on MPS")
    return 1.0


def test_batches_wait_where_copies_are_unsafe(monkeypatch):
    waits = {}

    class Watched:
        def to(self, device, non_blocking):
            waits[device.type] = not non_blocking

    monkeypatch.setattr(Inputs, "_each", lambda self, change: change(Watched()))
    for name in ("cpu", "mps", "cuda"):
        Inputs(torch.zeros(1, 1, dtype=torch.long)).to(torch.device(name))
    assert waits == {"cpu": True, "mps": True, "cuda": False}


def test_several_processes_take_a_gpu_each():
    with pytest.raises(UserError, match=r"^--device cuda:1: each process takes a GPU of its own; use --device cuda$"):
        Processes.device(SimpleNamespace(), torch.device("cuda:1"))
    assert Processes.device(SimpleNamespace(), torch.device("cpu")) == torch.device("cpu")
