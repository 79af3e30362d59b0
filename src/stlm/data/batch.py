"""What a source of batches yields and a model reads."""

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

    ends, n_patches: where patches end and how many any row has at most, where bytes alone decide it and the source of batches
    has computed it; the model finds out by itself otherwise.
    lengths: how many tokens of each row count, for ragged rows with a cache; all where None.
    positions: of each token, where it isn't its place within its document.
    bidirectional: whether tokens see later ones too; parts of a model that cannot refuse it by name.
    """

    inputs: Int[Tensor, "batch seq"]
    ends: Bool[Tensor, "batch seq"] | None = None
    n_patches: int | None = None
    lengths: Int[Tensor, " batch"] | None = None
    positions: Int[Tensor, "batch seq"] | None = None
    bidirectional: bool = False

    def to(self: T, device: torch.device) -> T:
        """The same on ``device``; copies overlap with computation where memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self: T) -> T:
        """The same in pinned memory, where there's a GPU to fetch it."""
        return self._each(Tensor.pin_memory) if torch.cuda.is_available() else self

    def _each(self: T, change: Callable[[Tensor], Tensor]) -> T:
        fields = {field.name: _changed(getattr(self, field.name), change) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **fields)


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    match value:
        case Tensor():
            return change(value)
        case dict():
            return {name: change(item) for name, item in value.items()}
        case tuple():
            return tuple(batch._each(change) for batch in value)
    return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch(Inputs):
    """Rows of tokens with what has to be predicted.

    targets: the token that follows each input. weights: how much each weighs in the loss; may be negative.
    counted: which targets are this row's own: neither padding nor context that another row has as its own.
    scored: which targets' bits count as the text's: of those that are counted, all but specials that stand between texts.
    n_bytes: how many bytes of text each target stands for (0 for specials and for what isn't counted).
    extra: columns of the corpus, by name, at each target. parts: a batch for each part of a mix of objectives.
    """

    targets: Int[Tensor, "batch seq"]
    weights: Float[Tensor, "batch seq"]
    counted: Bool[Tensor, "batch seq"]
    scored: Bool[Tensor, "batch seq"]
    n_bytes: Int[Tensor, "batch seq"]
    extra: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    parts: tuple[Batch, ...] = ()

    @property
    def total_bytes(self) -> Tensor:
        """Bytes of text that this batch has as its own."""
        return self.n_bytes.sum()
