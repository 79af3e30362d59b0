"""Each process keeps only its part of weights, gradients and optimizer state: PyTorch's FSDP2.

The rest of a layer is fetched when it is needed, and gradients are added up where their part is kept (Zhao et al. 2023, arXiv
2304.11277).
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import Optimizer

from stlm.nn.sharded import sharded_like, whole
from stlm.train.model_with_loss import ModelWithLoss
from stlm.train.parallel import Parallel
from stlm.train.ranks import Ranks


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
        state = {number: {name: self._kept(value) for name, value in values.items()}
                 for number, values in found["state"].items()}
        return {**found, "state": state}

    def _kept(self, value: Any) -> Any:
        """A value of a state, whole; on the main process, because only that one saves."""
        if not isinstance(value, Tensor):
            return value
        full = whole(value)
        return full.cpu() if self._ranks.is_main else None


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
