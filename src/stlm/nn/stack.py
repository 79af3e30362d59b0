"""A stack of blocks that runs over whole rows, or continues from a cache.

A row may hold several documents one after the other; no position sees another document. Rows may be ragged: with ``lengths``,
only the first ``lengths[b]`` positions of row b count, and the rest is padding.

Caches are *right-aligned*, and each cached position has a segment id, which is -1 where nothing is cached. So one comparison of
segment ids masks other documents, padding and empty entries.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from stlm.nn.memory import KV, Memory

NOTHING = -1  # the segment id of padding and of empty entries of a cache
RowMask = Bool[Tensor, " batch"] | None  # some of the rows; None means none of them
Hashes = Int[Tensor, "batch seq order"] | None  # of the n-grams that end at each position, if a stack wants some (`orders`)
Ctx = TypeVar("Ctx")


class Block(nn.Module, abc.ABC, Generic[Ctx]):
    """One layer. All blocks of a stack have the same ``lookback`` and share one `context`."""

    lookback: int
    """How many earlier positions `context` needs. The default `update_cache` keeps as many."""
    value_width: int = 0
    """The width of the values of its attention; 0 without."""
    supports_bidirectional: bool = False
    """Whether the block has a `bidirectional_context`, in which positions see later ones too."""

    @abc.abstractmethod
    def context(self, segment_ids: Int[Tensor, "batch total"], positions: Int[Tensor, "batch seq"], dtype: torch.dtype) -> Ctx:
        """What depends on positions only (masks, rotations). It is computed once for all blocks of a stack."""

    def bidirectional_context(self, segment_ids: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"],
                              dtype: torch.dtype, rows: Bool[Tensor, " batch"]) -> Ctx:
        """The context in which every position of these rows sees its whole document, if the block supports it. Otherwise they
        are read like all others.
        """
        return self.context(segment_ids, positions, dtype)

    @abc.abstractmethod
    def forward(self, x: Float[Tensor, "batch seq dim"], context: Ctx, past: KV | None
                ) -> tuple[Float[Tensor, "batch seq dim"], KV]:
        """The output, and what later positions need of these positions, such as keys and values: [batch, seq, ...]."""

    def kv_only(self, x: Float[Tensor, "batch seq dim"], context: Ctx, past: KV | None) -> KV:
        """What later positions need of these positions, without the output."""
        return self(x, context, past)[1]

    def update_cache(self, past: KV | None, new: KV, lengths: Int[Tensor, " batch"] | None) -> KV:
        """The updated cache of the block. Of ``new``, the first ``lengths[b]`` positions count (all if None)."""
        return tuple(update_cache(None if past is None else past[i], item, self.lookback, lengths)
                     for i, item in enumerate(new))


@dataclasses.dataclass
class StackCache(Memory):
    """The cache of one stack. segment_ids: those of the cached positions, one tensor for all layers, or one for each layer if
    layers process different positions. layers: the cache of each layer.
    """

    segment_ids: list[Int[Tensor, "batch past"]]
    layers: list[KV | None]

    @classmethod
    def empty(cls, batch: int, depth: int, device: torch.device, apart: bool = False) -> StackCache:
        nothing = torch.empty(batch, 0, dtype=torch.long, device=device)
        return cls([nothing] * (depth if apart else 1), [None] * depth)


@dataclasses.dataclass(frozen=True)
class StackOutput:
    """The output of a stack. exits: in training, the output of an earlier layer, with the weight of its loss; aux_losses:
    losses of the stack's own parts, by name, one for each row; metrics: further figures of each row, by name.
    """

    states: Float[Tensor, "batch seq dim"]
    exits: list[tuple[Float[Tensor, "batch seq dim"], float]] = dataclasses.field(default_factory=list)
    aux_losses: dict[str, Float[Tensor, " batch"]] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Float[Tensor, " batch"]] = dataclasses.field(default_factory=dict)


class Stack(nn.Module):
    """Blocks that run one after the other; the identity without blocks. A block may be in the list several times.

    active: how many layers run, from the first on.
    """

    exit_threshold: float | None = None
    """The similarity at which a position exits early; None if no position can."""
    flops_change: bool = False
    """Whether the cost of a token changes in training."""
    orders: tuple[int, ...] = ()
    """The lengths of the n-grams whose hashes it is given; without, it is given none."""
    leaves_out: bool = False
    """Whether a step of training may leave out some weights, so that they get no gradient."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks, self.active = nn.ModuleList(blocks), len(blocks)
        self.lookback = max((block.lookback for block in blocks), default=0)
        self.dropouts: nn.ModuleList | None = None  # of what each layer adds; without, nothing is dropped

    @property
    def supports_bidirectional(self) -> bool:
        """Whether rows can be read in both directions. If not, all rows are read in one direction."""
        return any(block.supports_bidirectional for block in self.blocks)

    @property
    def can_split(self) -> bool:
        """Whether the first layers may run separately, and the other layers continue from their output."""
        return not self.exit_threshold

    def new_cache(self, batch: int, device: torch.device) -> StackCache:
        """An empty memory for ``batch`` rows."""
        return StackCache.empty(batch, len(self.blocks), device)

    def forward(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], cache: StackCache | None = None,
                lengths: Int[Tensor, " batch"] | None = None, bidirectional: RowMask = None,
                hashes: Hashes = None) -> StackOutput:
        """Run over ``x``. With ``cache`` (`new_cache`), continue from it and update it. bidirectional: the rows in which
        positions see later ones too, if the stack supports it.
        """
        if len(self.blocks) == 0:
            return StackOutput(x)
        context = self._context(x, segment_ids, positions, cache, bidirectional)
        for depth in range(self.active):
            x, _ = self._run_layer(depth, x, context, cache, lengths)
        self._advance(segment_ids, cache, lengths)
        return StackOutput(x)

    def _context(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                 positions: Int[Tensor, "batch seq"], cache: StackCache | None, bidirectional: RowMask = None) -> Any:
        """The context of these positions and the cached ones, for all blocks."""
        first: Any = self.blocks[0]
        if bidirectional is not None:
            return first.bidirectional_context(segment_ids, positions, x.dtype, bidirectional)
        total = segment_ids if cache is None else torch.cat([cache.segment_ids[0], segment_ids], dim=1)
        return first.context(total, positions, x.dtype)

    def _run_layer(self, depth: int, x: Float[Tensor, "batch seq dim"], context: Any, cache: StackCache | None,
                   lengths: Int[Tensor, " batch"] | None) -> tuple[Float[Tensor, "batch seq dim"], KV]:
        """Run one layer. With a cache, continue from it and update it. Returns what the layer does."""
        layer: Any = self.blocks[depth]
        past = None if cache is None else cache.layers[depth]
        out, new = layer(x, context, past)
        if cache is not None:
            cache.layers[depth] = layer.update_cache(past, new, lengths)
        return self.dropped(depth, x, out), new

    def dropped(self, depth: int, x: Float[Tensor, "batch seq dim"], out: Float[Tensor, "batch seq dim"]
                ) -> Float[Tensor, "batch seq dim"]:
        """The output of a layer, with dropout of what it has added to ``x``."""
        return out if self.dropouts is None or not self.training else x + self.dropouts[depth](out - x)

    def _skip_layer(self, depth: int, x: Float[Tensor, "batch seq dim"], context: Any, cache: StackCache,
                    lengths: Int[Tensor, " batch"] | None) -> None:
        """Update the cache of one layer, without its output."""
        layer: Any = self.blocks[depth]
        past = cache.layers[depth]
        cache.layers[depth] = layer.update_cache(past, layer.kv_only(x, context, past), lengths)

    def _advance(self, segment_ids: Int[Tensor, "batch seq"], cache: StackCache | None, lengths: Int[Tensor, " batch"] | None
                 ) -> None:
        """Add the segment ids of these positions to the cache."""
        if cache is not None:
            cache.segment_ids = [update_cache(cache.segment_ids[0], segment_ids, self.lookback, lengths, empty=NOTHING)]


def update_cache(past: Tensor | None, new: Tensor, keep: int, lengths: Int[Tensor, " batch"] | None,
                 empty: int = 0) -> Tensor:
    """The last ``keep`` entries of ``past`` followed by ``new``, right-aligned in every row.

    past: [batch, n, ...]; new: [batch, seq, ...], of which the first ``lengths[b]`` entries count (all if None). Where a row
    has fewer entries, the rest is filled with ``empty``.
    """
    both = new if past is None else torch.cat([past, new], dim=1)
    if lengths is not None:
        shift = new.shape[1] - lengths
        source = torch.arange(both.shape[1], device=both.device) - shift[:, None]
        index = source.clamp(min=0).reshape(*source.shape, *[1] * (both.dim() - 2)).expand(both.shape)
        missing = (source < 0).reshape(*source.shape, *[1] * (both.dim() - 2))
        both = both.gather(1, index).masked_fill(missing, empty)
    return both[:, max(0, both.shape[1] - keep):]
