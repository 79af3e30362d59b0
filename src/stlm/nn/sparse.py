"""A stack whose layers work on some positions only: the others pass by, and aren't seen there."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from stlm.nn.stack import NOTHING, Stack, update_cache


@dataclasses.dataclass
class SparseCache:
    """What each layer remembers of the positions that went through it: their documents, and what the layer keeps of them."""

    segment_ids: list[Int[Tensor, "batch past"]]
    layers: list[tuple[Tensor, ...] | None]


@dataclasses.dataclass(frozen=True)
class Selection:
    """The positions that layers work on. order: where they stand, as far as there's room; None where they're all. exists: which
    of these places are taken up; count: by how many; documents, positions: theirs, `NOTHING` and anything where none is.
    """

    order: Int[Tensor, "batch room"] | None
    exists: Bool[Tensor, "batch room"]
    count: Int[Tensor, " batch"]
    segment_ids: Int[Tensor, "batch room"]
    positions: Int[Tensor, "batch room"]


class SparseStack(Stack):
    """Of such a stack, `travel` says who goes where."""

    def forward(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], cache: Any = None, lengths: Int[Tensor, " batch"] | None = None
                ) -> Float[Tensor, "batch seq dim"]:
        return self.travel(x, segment_ids, positions, cache, lengths).states

    def new_cache(self, batch: int, device: torch.device) -> SparseCache:
        nothing = torch.empty(batch, 0, dtype=torch.long, device=device)
        return SparseCache([nothing] * len(self.blocks), [None] * len(self.blocks))

    def whole(self, depth: int, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
              positions: Int[Tensor, "batch seq"], context: Any, cache: SparseCache | None, lengths: Int[Tensor, " batch"] | None
              ) -> Float[Tensor, "batch seq dim"]:
        """A layer that all these positions go through. ``context`` is what it sees where there is no cache; made here if None."""
        block: Any = self.blocks[depth]
        if cache is None:
            return block(x, block.context(segment_ids, positions, x.dtype) if context is None else context, None)[0]
        before, past = cache.segment_ids[depth], cache.layers[depth]
        x, new = block(x, block.context(torch.cat([before, segment_ids], dim=1), positions, x.dtype), past)
        cache.layers[depth] = block.update_cache(past, new, lengths)
        cache.segment_ids[depth] = update_cache(before, segment_ids, self.lookback, lengths, empty=NOTHING)
        return x

    def taken(self, segment_ids: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"], chosen: Bool[Tensor, "batch seq"],
              room: int | None = None) -> Selection | None:
        """The chosen positions; None where there is none. room: at least as many as are chosen in any row; found out where
        None.
        """
        count = chosen.sum(dim=1)
        if room is None:
            fewest, room = (int(n) for n in count.aminmax())
            if room == 0:
                return None
            if fewest == chosen.shape[1]:
                return Selection(None, chosen, count, segment_ids, positions)
        order = (~chosen).byte().argsort(dim=1, stable=True)[:, :room]
        exists = torch.arange(room, device=chosen.device) < count[:, None]
        owners = segment_ids.gather(1, order).masked_fill(~exists, NOTHING)
        return Selection(order, exists, count, owners, positions.gather(1, order))

    def added(self, depth: int, x: Float[Tensor, "batch seq dim"], taken: Selection, cache: SparseCache | None
              ) -> Float[Tensor, "batch seq dim"]:
        """What a layer adds to the positions that are taken, which are all that it sees; 0 elsewhere."""
        wide = None if taken.order is None else taken.order[..., None].expand(*taken.order.shape, x.shape[2])
        part = x if wide is None else x.gather(1, wide)
        out = self.whole(depth, part, taken.segment_ids, taken.positions, None, cache, taken.count)
        if wide is None:
            return out - x
        change = (out - part).masked_fill(~taken.exists[..., None], 0)
        return torch.zeros_like(x).scatter(1, wide, change.to(x.dtype))


def valid_mask(segment_ids: Int[Tensor, "batch seq"], lengths: Int[Tensor, " batch"] | None) -> Bool[Tensor, "batch seq"]:
    """Which positions there are: neither padding nor past a row's length."""
    found = segment_ids != NOTHING
    if lengths is not None:
        found = found & (torch.arange(segment_ids.shape[1], device=segment_ids.device) < lengths[:, None])
    return found
