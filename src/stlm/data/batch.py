"""What the data stream yields and a model reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

T = TypeVar("T", bound="Inputs")


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Rows of tokens to read.

    ends, n_patches: where patches end and how many any row has at most, where bytes alone decide it and the data
    stream has computed it; the model finds out by itself otherwise.
    lengths: how many tokens of each row count, for ragged rows with a cache; all where None.
    """

    inputs: Int[Tensor, "batch seq"]
    ends: Bool[Tensor, "batch seq"] | None = None
    n_patches: int | None = None
    lengths: Int[Tensor, " batch"] | None = None

    def to(self: T, device: torch.device) -> T:
        """The same on ``device``; copies overlap with computation where memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self: T) -> T:
        """The same in pinned memory, where there's a GPU to fetch it."""
        return self._each(Tensor.pin_memory) if torch.cuda.is_available() else self

    def _each(self: T, change: Callable[[Tensor], Tensor]) -> T:
        changed: dict[str, Any] = {field.name: change(value) for field in dataclasses.fields(self)
                                   if isinstance(value := getattr(self, field.name), Tensor)}
        return dataclasses.replace(self, **changed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch(Inputs):
    """Rows of tokens with what has to be predicted.

    targets, weights: the token that follows each input, and how much its loss counts (0 for padding).
    n_bytes: how many bytes of text each target stands for (0 for specials).
    scored: whether a target's bits count as the text's: all but those of specials that stand between texts.
    """

    targets: Int[Tensor, "batch seq"]
    weights: Float[Tensor, "batch seq"]
    n_bytes: Int[Tensor, "batch seq"]
    scored: Bool[Tensor, "batch seq"]

    @property
    def weighted_bytes(self) -> Tensor:
        """Bytes of text that count in this batch."""
        return (self.n_bytes * self.weights).sum()
