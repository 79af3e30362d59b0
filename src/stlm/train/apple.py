"""Whether an Apple GPU can run a model. Their device in PyTorch is ``mps``; it lacks float64 and some operations.

The work is tried in small: on the CPU, where each operation is looked up in a list, then on the GPU, where nothing may fail and
the scores have to be those of the CPU.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stlm.config.decode import field_types
from stlm.config.slot import slot_of
from stlm.data.batch import Inputs
from stlm.model.lm import LM
from stlm.text.tokenizer import Tokenizer
from stlm.train.apple_operations import OPERATIONS, READ_FROM

M = TypeVar("M", bound=nn.Module)
APPLE = torch.device("mps")
TEXT = [b"The cat sat on the mat, and the dog lay by the door. The cat sat on the mat again. " * 2] * 4
TOKENS = 128  # in a row
NEAR = 0.01  # scores that differ by less than this share of the largest are equal
MOST = 0.9  # share of the scores that have to be equal: a decision between two parts may fall either way


def why_not_read(model: LM, tokenizer: Tokenizer, gpu: torch.device = APPLE) -> str | None:
    """Why this model, which is on the CPU, can't read and write on an Apple GPU; None if it can."""
    tokens = [tokenizer.bos, *tokenizer.encode(TEXT[0]).tolist()][:TOKENS]

    @torch.inference_mode()
    def read(own: LM) -> Tensor:
        rows, short = torch.tensor([tokens, tokens], device=own.device), torch.tensor([8, 5], device=own.device)
        cache, found = own.new_cache(2), [own(Inputs(rows)).logits]
        for piece, lengths in ((rows[:, :8], short), (rows[:, 8:40], None), (rows[:, 40:41], None)):
            found.append(own(Inputs(piece, lengths=lengths), cache).logits[:, :5])
        cache.select(torch.tensor([1], device=own.device))
        return torch.cat(found, dim=1)

    return why_not(read, model, model.config, gpu)


def why_not(work: Callable[[M], Tensor], module: M, config: Any, gpu: torch.device) -> str | None:
    """Why ``work`` can't be done with a module on an Apple GPU. There it has to return the scores that it returns on the CPU.
    config: of the run or the model.
    """
    if torch.__version__ < READ_FROM:
        return f"Apple GPUs need PyTorch {READ_FROM} or newer, and this is {torch.__version__}"
    own, trace = copy.deepcopy(module), Trace(parts_of(config))
    with torch.random.fork_rng(devices=[]):
        with trace:
            expected = work(own)
        if trace.lacks is not None:
            return trace.lacks
        try:
            found = work(copy.deepcopy(module).to(gpu)).cpu()
        except (RuntimeError, TypeError) as error:  # an operation that doesn't take this type of numbers, or too little memory
            return f"a small step fails there ({str(error).strip().splitlines()[0]})"
    equal = (found - expected).abs() <= NEAR * expected.abs().max()
    return None if equal.float().mean() >= MOST else "this Apple GPU computes other scores than the CPU"


def parts_of(config: Any) -> dict[str, str]:
    """The parts of a run or a model, such as ``depth = mixture``, by the module of their kind; of two of a kind the first."""
    found = dict[str, str]()
    for name, hint in field_types(type(config)).items():
        value = getattr(config, name)
        if slot_of(hint) is not None:
            found.setdefault(type(value).__module__, f"{name} = {value.kind}")
        if dataclasses.is_dataclass(value):
            found = parts_of(value) | found
    return found


class Trace(TorchDispatchMode):
    """A context that looks at every operation of PyTorch. lacks: the first that Apple GPUs lack, in words; None if they lack
    none. parts: names of parts by the module of their code.
    """

    def __init__(self, parts: Mapping[str, str]) -> None:
        super().__init__()
        self.parts = parts
        self.lacks: str | None = None

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        with self:  # without gradients, operations that are made of others arrive whole
            out = operation.decompose(*args, **kwargs)
        if out is not NotImplemented:
            return out
        out = operation(*args, **kwargs)
        if self.lacks is not None:
            return out
        if any(getattr(leaf, "dtype", None) == torch.float64 for leaf in tree_leaves(out)):
            self.lacks = f"{self._part()} needs float64, which Apple GPUs don't have"
        elif operation.name().removeprefix("aten::") not in OPERATIONS:
            self.lacks = f"{self._part()} needs {operation.name()}, which isn't known to exist on Apple GPUs"
        return out

    def _part(self) -> str:
        """The part of the model whose code is running."""
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if (module := frame.f_globals.get("__name__", "")) in self.parts:
                return self.parts[module]
            frame = frame.f_back
        return "this model"
