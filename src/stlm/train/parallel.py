"""How one model is trained by several processes: every process has all of it (DDP), or a part (FSDP2).

Both are PyTorch's own. Each process computes the gradients of its rows. DDP adds them up (Li et al. 2020, arXiv 2006.15704).
FSDP2 adds them up too, but each process keeps only its part of weights, gradients and optimizer state, and fetches the rest of
a layer when it is needed (Zhao et al. 2023, arXiv 2304.11277).
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from stlm.nn.sharded import sharded_like, whole
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


class Sharded(Parallel):
    """Every process has a part of each weight (FSDP2). Layers of the trunk whose weights are theirs alone are fetched one by
    one, everything else together. Single numbers can't be parted, so every process has them.
    """

    keeps_all = False

    def __init__(self, with_loss: ModelWithLoss, ema: nn.Module | None, optimizers: Sequence[Optimizer], ranks: Ranks) -> None:
        super().__init__(with_loss)
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")  # blocks return views, which nobody changes in place
        self._ranks, self._mesh = ranks, init_device_mesh(with_loss.device.type, (ranks.size,))
        modules = [module for module in (with_loss.model, with_loss.objective, ema) if module is not None]
        self._plain = {module: copy.deepcopy(module).cpu() for module in modules} if ranks.is_main else {}
        before = dict(with_loss.named_parameters())
        for layer in _apart(with_loss.model.trunk.blocks):
            self._shard(layer)
        self._shard(with_loss)
        if ema is not None:
            self._shard(ema)
        after = {parameter: with_loss.get_parameter(name) for name, parameter in before.items()}
        for optimizer in optimizers:
            _move(optimizer, after)
        self._numbers = [parameter for parameter in with_loss.parameters() if parameter.dim() == 0]

    def _shard(self, module: nn.Module) -> None:
        numbers = {parameter for parameter in module.parameters() if parameter.dim() == 0}
        fully_shard(module, mesh=self._mesh, ignored_params=numbers)
        for part in module.modules():
            if isinstance(part, FSDPModule):  # sums, as everywhere here; gloo has no averages
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)

    @contextlib.contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        sharded: Any = self.step
        sharded.set_requires_gradient_sync(last)
        yield
        if last:
            grads = [number.grad for number in self._numbers if number.grad is not None]
            if grads:
                for grad, total in zip(grads, self._ranks.sum(torch.stack(grads)), strict=True):
                    grad.copy_(total)

    def norm(self, grads: Sequence[Tensor]) -> Tensor:
        parts, numbers = ([grad for grad in grads if (grad.dim() == 0) is single] for single in (False, True))
        squares = self._ranks.sum(torch.nn.utils.get_total_norm(parts).square())
        return torch.stack([squares, *(number.square() for number in numbers)]).sum().sqrt()

    @torch.no_grad()
    def gather(self, module: nn.Module) -> None:
        values = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        kept = self._plain.get(module)
        own = None if kept is None else {**dict(kept.named_parameters()), **dict(kept.named_buffers())}
        for name, value in values.items():
            full = whole(value)
            if own is not None:
                own[name].copy_(full)

    def plain(self, module: nn.Module) -> nn.Module:
        return self._plain[module]

    def state_of(self, optimizer: Optimizer) -> dict[str, Any]:
        found = optimizer.state_dict()
        state = {number: {name: whole(value) if isinstance(value, Tensor) else value for name, value in values.items()}
                 for number, values in found["state"].items()}
        return {**found, "state": state}


def _apart(blocks: Iterable[nn.Module]) -> list[nn.Module]:
    """The blocks whose weights no other block uses, and that stand in the list once."""
    users = Counter(id(parameter) for block in blocks for parameter in block.parameters())
    return [block for block in blocks if all(users[id(parameter)] == 1 for parameter in block.parameters())]


def _move(optimizer: Optimizer, to: dict[nn.Parameter, nn.Parameter]) -> None:
    """Let an optimizer update other parameters, which stand for the same weights, with the state that it has."""
    state = defaultdict[Tensor, dict[str, Any]](dict)
    for parameter, new in to.items():
        if parameter in optimizer.state:
            state[new] = {name: sharded_like(value, new) if isinstance(value, Tensor) and value.dim() else value
                          for name, value in optimizer.state[parameter].items()}
    optimizer.state = state
    for group in optimizer.param_groups:
        group["params"] = [to[parameter] for parameter in group["params"]]


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
        return Sharded(with_loss, ema, optimizers, ranks)
    return Replicated(with_loss, ranks)
