"""A stack of causal blocks that can run over whole sequences, or go on from where an earlier call stopped.

Sequences may hold several documents one after the other; no position sees another document. Rows may be ragged: with
``lengths`` only the first ``lengths[b]`` positions of row b count, the rest is padding.

What a block remembers is kept *right-aligned* and marked by the document it belongs to, -1 where there is nothing. So
one comparison of document numbers does all the masking: other documents, padding and empty memory alike.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

NOTHING = -1  # the document number of a place that holds nothing


class Block(nn.Module, abc.ABC):
    """One causal layer. All blocks of a stack have the same ``lookback`` and share one `context`."""

    lookback: int
    """How many earlier positions `context` is told of and, unless a block has its own `remember`, memories reach back."""

    @abc.abstractmethod
    def context(self, segment_ids: Int[Tensor, "batch total"], positions: Int[Tensor, "batch seq"],
             dtype: torch.dtype) -> Any:
        """Whatever depends on places only (masks, rotations): computed once, handed to every block of the stack."""

    @abc.abstractmethod
    def forward(self, x: Float[Tensor, "batch seq dim"], context: Any,
                past: tuple[Tensor, ...] | None) -> tuple[Float[Tensor, "batch seq dim"], tuple[Tensor, ...]]:
        """The output, and what later positions need of these ones: tensors [batch, seq, ...]."""

    def kv_only(self, x: Float[Tensor, "batch seq dim"], context: Any, past: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        """What later positions need of these ones, where their output isn't wanted."""
        return self(x, context, past)[1]

    def update_cache(self, past: tuple[Tensor, ...] | None, new: tuple[Tensor, ...], lengths: Int[Tensor, " batch"] | None
                 ) -> tuple[Tensor, ...]:
        """What the block needs from now on: of ``new``, the first ``lengths[b]`` positions count (all where None)."""
        return tuple(update_cache(None if past is None else past[i], item, self.lookback, lengths)
                     for i, item in enumerate(new))


@dataclasses.dataclass
class StackCache:
    """What one stack remembers of each row."""

    segment_ids: Int[Tensor, "batch past"]
    layers: list[tuple[Tensor, ...] | None]

    @classmethod
    def empty(cls, batch: int, depth: int, device: torch.device) -> StackCache:
        return cls(torch.empty(batch, 0, dtype=torch.long, device=device), [None] * depth)


@dataclasses.dataclass(frozen=True)
class StackOutput:
    """What a stack makes of its input. early: what came out of a layer on the way, in training, and how much a loss of it
    counts; losses: what the stack adds to the loss itself, by name; figures: what else is worth knowing of it, by name.
    """

    states: Float[Tensor, "batch seq dim"]
    early: list[tuple[Float[Tensor, "batch seq dim"], float]] = dataclasses.field(default_factory=list)
    losses: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    figures: dict[str, Tensor] = dataclasses.field(default_factory=dict)


class Stack(nn.Module):
    """Blocks one after the other; the identity where there are none. A block may stand at several places.

    active: how many of them run, from the first on.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks, self.active = nn.ModuleList(blocks), len(blocks)
        self.lookback = max((block.lookback for block in blocks), default=0)

    def new_cache(self, batch: int, device: torch.device) -> Any:
        """A memory of nothing for ``batch`` rows."""
        return StackCache.empty(batch, len(self.blocks), device)

    def travel(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
               positions: Int[Tensor, "batch seq"], cache: Any = None, lengths: Int[Tensor, " batch"] | None = None) -> StackOutput:
        """The same as calling it, with whatever else comes of it. ``cache`` is what `new_cache` made."""
        return StackOutput(self(x, segment_ids, positions, cache, lengths))

    def forward(
        self,
        x: Float[Tensor, "batch seq dim"],
        segment_ids: Int[Tensor, "batch seq"],
        positions: Int[Tensor, "batch seq"],
        cache: StackCache | None = None,
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch seq dim"]:
        if len(self.blocks) == 0:
            return x
        context = self.context(x, segment_ids, positions, cache)
        for depth in range(self.active):
            x = self.one(depth, x, context, cache, lengths)
        self.went(segment_ids, cache, lengths)
        return x

    def pass_by(self, depth: int, x: Float[Tensor, "batch seq dim"], context: Any, cache: StackCache,
                lengths: Int[Tensor, " batch"] | None) -> None:
        """One layer remembers these places, and makes nothing of them."""
        layer: Any = self.blocks[depth]
        past = cache.layers[depth]
        cache.layers[depth] = layer.update_cache(past, layer.kv_only(x, context, past), lengths)

    def context(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"],
             cache: StackCache | None) -> Any:
        """What all blocks need to know of these places, and of those before them."""
        first: Any = self.blocks[0]
        return first.context(segment_ids if cache is None else torch.cat([cache.segment_ids, segment_ids], dim=1), positions, x.dtype)

    def went(self, segment_ids: Int[Tensor, "batch seq"], cache: StackCache | None, lengths: Int[Tensor, " batch"] | None
             ) -> None:
        """All blocks have gone through these places."""
        if cache is not None:
            cache.segment_ids = update_cache(cache.segment_ids, segment_ids, self.lookback, lengths, empty=NOTHING)

    def one(self, depth: int, x: Float[Tensor, "batch seq dim"], context: Any, cache: StackCache | None,
            lengths: Int[Tensor, " batch"] | None) -> Float[Tensor, "batch seq dim"]:
        """One layer, which goes on from its memory where there is a cache."""
        layer: Any = self.blocks[depth]
        if cache is None:
            return layer(x, context, None)[0]
        past = cache.layers[depth]
        x, new = layer(x, context, past)
        cache.layers[depth] = layer.update_cache(past, new, lengths)
        return x


def update_cache(past: Tensor | None, new: Tensor, keep: int, lengths: Int[Tensor, " batch"] | None,
             empty: int = 0) -> Tensor:
    """The last ``keep`` entries of ``past`` followed by ``new``, right-aligned in every row.

    past: [batch, n, ...]; new: [batch, seq, ...], of which the first ``lengths[b]`` entries count (all where None).
    Places without an entry hold ``empty`` (or anything, where another tensor says that they are empty).
    """
    both = new if past is None else torch.cat([past, new], dim=1)
    if lengths is not None:
        shift = new.shape[1] - lengths
        source = torch.arange(both.shape[1], device=both.device) - shift[:, None]
        index = source.clamp(min=0).reshape(*source.shape, *[1] * (both.dim() - 2)).expand(both.shape)
        missing = (source < 0).reshape(*source.shape, *[1] * (both.dim() - 2))
        both = both.gather(1, index).masked_fill(missing, empty)
    return both[:, max(0, both.shape[1] - keep):]
