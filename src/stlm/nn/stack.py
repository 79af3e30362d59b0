"""A stack of blocks that can run over whole sequences, or go on from where an earlier call stopped.

Sequences may hold several documents one after the other; no position sees another document. Rows may be ragged: with
``lengths`` only the first ``lengths[b]`` positions of row b count, the rest is padding.

What a block keeps is *right-aligned* and marked by the document it belongs to, -1 where there is nothing. So one comparison
of segment ids does all the masking: other documents, padding and empty memory alike.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stlm.errors import UserError
from stlm.nn.memory import KV, Memory

NOTHING = -1  # the segment id of a place that holds nothing
Ctx = TypeVar("Ctx")


class Block(nn.Module, abc.ABC, Generic[Ctx]):
    """One layer. All blocks of a stack have the same ``lookback`` and share one `context`."""

    lookback: int
    """How many earlier positions `context` needs and, unless a block has its own `update_cache`, memories reach back."""
    supports_bidirectional: bool = False
    """Whether positions can see later ones too, by `bidirectional_context`."""

    @abc.abstractmethod
    def context(self, segment_ids: Int[Tensor, "batch total"], positions: Int[Tensor, "batch seq"], dtype: torch.dtype) -> Ctx:
        """Whatever depends on positions only (masks, rotations): computed once, handed to every block of the stack."""

    def bidirectional_context(self, segment_ids: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"],
                              dtype: torch.dtype) -> Ctx:
        """The same where every position sees all of its document, for whole rows. UserError from blocks that cannot."""
        raise UserError(f"blocks of the kind {type(self).__module__.rpartition('.')[2]} read in one direction only; choose "
                        "attention where positions shall see later ones")

    @abc.abstractmethod
    def forward(self, x: Float[Tensor, "batch seq dim"], context: Ctx, past: KV | None
                ) -> tuple[Float[Tensor, "batch seq dim"], KV]:
        """The output, and what later positions need of these ones: tensors [batch, seq, ...]."""

    def kv_only(self, x: Float[Tensor, "batch seq dim"], context: Ctx, past: KV | None) -> KV:
        """What later positions need of these ones, where their output isn't wanted."""
        return self(x, context, past)[1]

    def update_cache(self, past: KV | None, new: KV, lengths: Int[Tensor, " batch"] | None) -> KV:
        """What the block keeps from now on: of ``new``, the first ``lengths[b]`` positions count (all where None)."""
        return tuple(update_cache(None if past is None else past[i], item, self.lookback, lengths)
                     for i, item in enumerate(new))


@dataclasses.dataclass
class StackCache(Memory):
    """What one stack keeps of each row. segment_ids: of the last positions, once for all layers, or for each where layers take
    positions of their own; layers: what each layer keeps.
    """

    segment_ids: list[Int[Tensor, "batch past"]]
    layers: list[KV | None]

    @classmethod
    def empty(cls, batch: int, depth: int, device: torch.device, apart: bool = False) -> StackCache:
        nothing = torch.empty(batch, 0, dtype=torch.long, device=device)
        return cls([nothing] * (depth if apart else 1), [None] * depth)


@dataclasses.dataclass(frozen=True)
class StackOutput:
    """What a stack makes of its input. exits: the output of an earlier layer, in training, and the weight of its loss;
    aux_losses: what the stack adds to the loss itself, by name; metrics: further figures, by name.
    """

    states: Float[Tensor, "batch seq dim"]
    exits: list[tuple[Float[Tensor, "batch seq dim"], float]] = dataclasses.field(default_factory=list)
    aux_losses: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Tensor] = dataclasses.field(default_factory=dict)


class Stack(nn.Module):
    """Blocks one after the other; the identity where there are none. A block may stand at several places.

    active: how many of them run, from the first on.
    """

    exit_threshold: float | None = None
    """The similarity at which a position leaves early; None where it can't."""
    flops_change: bool = False
    """Whether a token costs more or less in the course of training."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks, self.active = nn.ModuleList(blocks), len(blocks)
        self.lookback = max((block.lookback for block in blocks), default=0)

    @property
    def can_split(self) -> bool:
        """Whether the first layers may run by themselves, and the others go on from their output."""
        return not self.exit_threshold

    def new_cache(self, batch: int, device: torch.device) -> StackCache:
        """An empty memory for ``batch`` rows."""
        return StackCache.empty(batch, len(self.blocks), device)

    def forward(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], cache: StackCache | None = None,
                lengths: Int[Tensor, " batch"] | None = None, bidirectional: bool = False) -> StackOutput:
        """Run over ``x``. With ``cache`` (`new_cache`), go on from it and move it on. bidirectional: positions see later ones;
        UserError where a block cannot.
        """
        if len(self.blocks) == 0:
            return StackOutput(x)
        context = self._context(x, segment_ids, positions, cache, bidirectional)
        for depth in range(self.active):
            x = self._run_layer(depth, x, context, cache, lengths)
        self._advance(segment_ids, cache, lengths)
        return StackOutput(x)

    def _context(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                 positions: Int[Tensor, "batch seq"], cache: StackCache | None, bidirectional: bool = False) -> Any:
        """What all blocks need to know of these positions, and of those before them."""
        first: Any = self.blocks[0]
        if bidirectional:
            return first.bidirectional_context(segment_ids, positions, x.dtype)
        total = segment_ids if cache is None else torch.cat([cache.segment_ids[0], segment_ids], dim=1)
        return first.context(total, positions, x.dtype)

    def _run_layer(self, depth: int, x: Float[Tensor, "batch seq dim"], context: Any, cache: StackCache | None,
                   lengths: Int[Tensor, " batch"] | None) -> Float[Tensor, "batch seq dim"]:
        """One layer, which goes on from its memory where there is a cache."""
        layer: Any = self.blocks[depth]
        if cache is None:
            return layer(x, context, None)[0]
        past = cache.layers[depth]
        x, new = layer(x, context, past)
        cache.layers[depth] = layer.update_cache(past, new, lengths)
        return x

    def _skip_layer(self, depth: int, x: Float[Tensor, "batch seq dim"], context: Any, cache: StackCache,
                    lengths: Int[Tensor, " batch"] | None) -> None:
        """One layer keeps what later positions need of these ones, and computes no output."""
        layer: Any = self.blocks[depth]
        past = cache.layers[depth]
        cache.layers[depth] = layer.update_cache(past, layer.kv_only(x, context, past), lengths)

    def _advance(self, segment_ids: Int[Tensor, "batch seq"], cache: StackCache | None, lengths: Int[Tensor, " batch"] | None
                 ) -> None:
        """The cache has these positions now."""
        if cache is not None:
            cache.segment_ids = [update_cache(cache.segment_ids[0], segment_ids, self.lookback, lengths, empty=NOTHING)]


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
