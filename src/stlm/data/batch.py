"""Batches: what a source of batches returns and what a model reads."""

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

    ends, n_patches: where patches end, and the room for patches in a row, at least their largest number. n_pairs: the room for
    pairs of places that a copying part compares, at least their number. The source of batches sets them where tokens alone
    decide. If they are None, the model computes them, for which a GPU waits.
    lengths: the number of tokens of each row that count, for ragged rows with a cache; None means all.
    positions: the position of each token; None means the position within its document.
    rows: a number for each row that is unlike those of other rows, for what is drawn at random; None if nothing is.
    bidirectional: the rows whose tokens attend to later tokens too; None means none. The parts of a model that can't do this
    read these rows in one direction.
    """

    inputs: Int[Tensor, "batch seq"]
    ends: Bool[Tensor, "batch seq"] | None = None
    n_patches: int | None = None
    n_pairs: int | None = None
    lengths: Int[Tensor, " batch"] | None = None
    positions: Int[Tensor, "batch seq"] | None = None
    rows: Int[Tensor, " batch"] | None = None
    bidirectional: Bool[Tensor, " batch"] | None = None

    def to(self: T, device: torch.device) -> T:
        """The same on ``device``. Copies from pinned memory overlap with computation. That is safe with CUDA; a copy to an
        Apple GPU may read memory that is already used for something else (pytorch/pytorch#189690).
        """
        return self._each(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))

    def pinned(self: T) -> T:
        """The same in pinned memory if there is a GPU; unchanged otherwise."""
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
    """Rows of tokens and their targets.

    targets: the token that follows each input. weights: the weight of each target in the loss; it may be negative.
    counted: which targets belong to this row. Padding doesn't, and context that belongs to another row doesn't.
    scored: which targets' bits count as bits of the text: all counted ones except special tokens between texts.
    n_bytes: the number of bytes of text of each target (0 for special tokens and for targets that aren't counted).
    extra: columns of the corpus, by name, at each target. parts: one batch for each part of a mix of objectives.
    """

    targets: Int[Tensor, "batch seq"]
    weights: Float[Tensor, "batch seq"]
    counted: Bool[Tensor, "batch seq"]
    scored: Bool[Tensor, "batch seq"]
    n_bytes: Int[Tensor, "batch seq"]
    extra: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    parts: tuple[Batch, ...] = ()

    def cut(self, pieces: int) -> Batch:
        """The same with every row cut into so many rows."""
        return self if pieces == 1 else self._each(lambda tensor: tensor.reshape(
            len(tensor) * pieces, tensor.shape[1] // pieces, *tensor.shape[2:]))

    @property
    def unchanged(self) -> Bool[Tensor, " batch"]:
        """The rows that are text as it is, without hidden or moved tokens, and that are read in one direction."""
        return self.scored.any(dim=1)

    @property
    def total_bytes(self) -> Tensor:
        """Bytes of text that are counted in this batch."""
        return self.n_bytes.sum()
