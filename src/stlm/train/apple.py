"""What a model needs and Apple GPUs lack. Their device in PyTorch is ``mps``; it lacks float64 and some operations."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stlm.config.decode import field_types
from stlm.config.slot import slot_of
from stlm.data.batch import Inputs
from stlm.model.lm import LM
from stlm.text.tokenizer import Tokenizer
from stlm.train.apple_operations import OPERATIONS, READ_FROM

TEXT = [b"The cat sat on the mat, and the dog lay by the door. The cat sat on the mat again. " * 2] * 4
TOKENS = 256  # in a row


def lacking_in_reading(model: LM, tokenizer: Tokenizer) -> str | None:
    """What reading a text needs and Apple GPUs lack, in words; None if nothing. The model, which is on the CPU, reads one as a
    whole, and in pieces as in generation.
    """
    def read(trace: Trace) -> None:
        tokens = [tokenizer.bos, *tokenizer.encode(TEXT[0]).tolist()][:TOKENS]
        rows, cache = torch.tensor([tokens, tokens]), model.new_cache(2)
        with trace, torch.inference_mode():
            _ = model(Inputs(rows)).logits
            for piece, lengths in ((rows[:, :8], torch.tensor([8, 5])), (rows[:, 8:40], None), (rows[:, 40:41], None)):
                _ = model(Inputs(piece, lengths=lengths), cache).logits
            cache.select(torch.tensor([1]))

    return lacking(read, model.config)


def lacking(work: Callable[[Trace], None], config: Any) -> str | None:
    """What ``work`` needs and Apple GPUs lack. It enters the trace that it is given. config: of the run or the model. Random
    numbers that others draw stay the same.
    """
    if torch.__version__ < READ_FROM:
        return f"Apple GPUs need PyTorch {READ_FROM} or newer, and this is {torch.__version__}"
    trace = Trace(parts_of(config))
    with torch.random.fork_rng(devices=[]):
        work(trace)
    return trace.lacks


def parts_of(config: Any) -> dict[str, str]:
    """The parts of a run or a model, such as ``depth = mixture``, by the module of their kind; of two of a kind the first."""
    found = {}
    for name, hint in field_types(type(config)).items():
        value = getattr(config, name)
        if slot_of(hint) is not None:
            found.setdefault(type(value).__module__, f"{name} = {value.kind}")
        if dataclasses.is_dataclass(value):
            found = parts_of(value) | found
    return found


class Trace(TorchDispatchMode):
    """A context that looks at every operation of PyTorch. lacks: the first that Apple GPUs lack, in words; None if they lack
    none. parts: names of parts by the module of their code. part: what needs an operation if no code of a part runs.
    """

    def __init__(self, parts: Mapping[str, str]) -> None:
        super().__init__()
        self.parts, self.part, self.lacks = parts, "this model", None

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        with self:  # without gradients, operations that are made of others arrive whole
            out = operation.decompose(*args, **kwargs)
        if out is not NotImplemented:
            return out
        out, name = operation(*args, **kwargs), operation.name().removeprefix("aten::")
        if self.lacks is not None:
            return out
        if any(getattr(leaf, "dtype", None) == torch.float64 for leaf in tree_leaves(out)):
            self.lacks = f"{self._part()} needs float64, which Apple GPUs don't have"
        elif name not in OPERATIONS:
            self.lacks = f"{self._part()} needs {operation.name()}, which isn't known to exist on Apple GPUs"
        return out

    def _part(self) -> str:
        """The part of the model whose code is running."""
        frame = sys._getframe()
        while frame is not None:
            if (module := frame.f_globals.get("__name__")) in self.parts:
                return self.parts[module]
            frame = frame.f_back
        return self.part
