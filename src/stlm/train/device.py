"""Devices: which one a model runs on, and what differs between them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import torch

from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.text.tokenizer import Tokenizer
from stlm.train.apple import why_not_read


def check_device(wanted: str) -> None:
    """UserError if there is no such device. wanted: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    kind, _, number = wanted.partition(":")
    if kind == "cuda":
        there = n_gpus()
        if not there:
            without = "" if torch.version.cuda or torch.version.hip else " (this PyTorch is built for CPUs only)"
            raise UserError(f"--device {wanted}: PyTorch sees no NVIDIA or AMD GPU here{without}; use --device cpu")
        if number and int(number) >= there:
            several = "and" if there == 2 else "to"
            raise UserError(f"--device {wanted}: " + ("there is 1 GPU, cuda:0" if there == 1 else
                                                      f"there are {there} GPUs, cuda:0 {several} cuda:{there - 1}"))
    elif kind == "mps" and not torch.backends.mps.is_available():
        without = "" if torch.backends.mps.is_built() else " (this PyTorch is built without them)"
        raise UserError(f"--device mps: PyTorch sees no Apple GPU here{without}; use --device cpu")


def pick_device(wanted: str = "auto", why_not: Callable[[], str | None] | None = None) -> torch.device:
    """The device of this name. ``auto`` is the first GPU, or the CPU if there is none. UserError if there is no such device.

    why_not: says why an Apple GPU can't do the work, None if it can. It is asked only where one would be used. Without it,
    ``auto`` leaves an Apple GPU alone.
    """
    check_device(wanted)
    if wanted == "auto":
        if n_gpus():
            wanted = "cuda"
        elif torch.backends.mps.is_available() and why_not is not None and why_not() is None:
            wanted = "mps"
        else:
            wanted = "cpu"
    elif wanted == "mps" and why_not is not None and (reason := why_not()):
        raise UserError(f"--device mps: {reason}; use --device cpu")
    device = torch.device(wanted)
    if device.index is not None:
        torch.cuda.set_device(device)  # kernels that are compiled run on the current GPU
    return device


def placed(model: LM, tokenizer: Tokenizer, wanted: str) -> LM:
    """The model, which is on the CPU, on the device of this name, to read and write with. UserError as in `pick_device`."""
    return model.to(pick_device(wanted, functools.partial(why_not_read, model, tokenizer)))


def n_gpus() -> int:
    """The number of NVIDIA or AMD GPUs."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def name_of(device: torch.device) -> str:
    """The name of a GPU, such as ``Apple M4``; ``cpu`` for the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.backends.mps.get_name() if device.type == "mps" else "cpu"


def memory_of(device: torch.device) -> int:
    """The bytes of memory that a model on this device can use."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def in_double(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float64, on the CPU where its device has no float64."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
