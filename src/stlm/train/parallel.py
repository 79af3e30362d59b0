"""How one model is trained by several processes: every process has all of it (DDP), or a part (FSDP2, `fsdp`).

Both are PyTorch's own. Each process computes the gradients of its rows, and DDP adds them up (Li et al. 2020, arXiv
2006.15704).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from stlm.train.model_with_loss import ModelWithLoss
from stlm.train.ranks import Ranks

SHARDED_FROM = 95_000_000  # parameters from which each process holds only a part


class Parallel:
    """One process, which has all of the model.

    step: what is called with a batch. averaged_over: the number by which gradients are divided already. keeps_all: whether
    every process could save the run by itself.
    """

    keeps_all = True

    def __init__(self, with_loss: ModelWithLoss) -> None:
        self.step: nn.Module = with_loss
        self.averaged_over = 1

    def micro_batch(self, last: bool) -> AbstractContextManager:
        """A context for forward and backward of a micro-batch. last: whether it is the last of its step. Only then gradients
        are exchanged.
        """
        return contextlib.nullcontext()

    def norm(self, grads: Sequence[Tensor]) -> Tensor:
        """The norm of all gradients. grads: the parts that this process holds."""
        return torch.nn.utils.get_total_norm(grads)

    def gather(self, module: nn.Module) -> None:
        """Collect the weights of a module for `plain`. Every process has to come here."""

    def plain(self, module: nn.Module) -> nn.Module:
        """A module with all weights as they were at the last `gather`. Only the main process has it."""
        return module

    def state_of(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state of an optimizer, whole. Every process has to come here."""
        return optimizer.state_dict()


class Replicated(Parallel):
    """Every process has all of the model (DDP)."""

    def __init__(self, with_loss: ModelWithLoss, ranks: Ranks) -> None:
        super().__init__(with_loss)
        self.averaged_over = ranks.size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the newer name of broadcast_buffers isn't in all versions
            self.step = self._ddp = DistributedDataParallel(
                with_loss, broadcast_buffers=False, gradient_as_bucket_view=True,
                find_unused_parameters=with_loss.model.leaves_out)

    def micro_batch(self, last: bool) -> AbstractContextManager:
        return contextlib.nullcontext() if last else self._ddp.no_sync()


def is_sharded(with_loss: ModelWithLoss, ranks: Ranks, sharded: str) -> bool:
    """Whether each process holds only a part of the weights. sharded: ``on``, ``off``, or ``auto``, which goes by the size."""
    large = sum(parameter.numel() for parameter in with_loss.parameters()) >= SHARDED_FROM
    return ranks.size > 1 and (sharded == "on" or (sharded == "auto" and large))


def possible_ways(ways: Sequence[str], with_loss: ModelWithLoss, ranks: Ranks, sharded: str) -> list[str]:
    """Those of the ways to compile in which a step can be spread over the processes. DDP takes gradients where they're made, so
    they can't lie in the memory of CUDA graphs. FSDP2 fetches weights between layers, so a step isn't one graph.
    """
    if is_sharded(with_loss, ranks, sharded):
        return [way for way in ways if way == "blocks"]
    return [way for way in ways if ranks.size == 1 or way != "graphs"]


def spread(with_loss: ModelWithLoss, ema: nn.Module | None, optimizers: Sequence[Optimizer], ranks: Ranks, sharded: str
           ) -> Parallel:
    """Spread what is trained over the processes. sharded: as in `is_sharded`."""
    if ranks.size == 1:
        return Parallel(with_loss)
    if is_sharded(with_loss, ranks, sharded):
        from stlm.train.fsdp import Sharded  # imported only here, because it takes 0.7 s
        return Sharded(with_loss, ema, optimizers, ranks)
    return Replicated(with_loss, ranks)
