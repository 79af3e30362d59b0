"""A stack whose layers work on some positions only: the others keep their value, and aren't seen there."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from stlm.errors import UserError
from stlm.nn.stack import NOTHING, Stack, StackCache, update_cache


@dataclasses.dataclass(frozen=True)
class Selection:
    """The positions that layers work on. order: their indices, as far as there's room; None where all are selected. exists:
    which of these places are used; count: how many; segment_ids, positions: theirs, `NOTHING` and anything where none is.
    """

    order: Int[Tensor, "batch room"] | None
    exists: Bool[Tensor, "batch room"]
    count: Int[Tensor, " batch"]
    segment_ids: Int[Tensor, "batch room"]
    positions: Int[Tensor, "batch room"]


class SparseStack(Stack, abc.ABC):
    """A kind says in ``forward`` which positions go through which layer. Each layer keeps positions of its own."""

    @property
    def can_split(self) -> bool:
        return False

    def new_cache(self, batch: int, device: torch.device) -> StackCache:
        return StackCache.empty(batch, len(self.blocks), device, apart=True)

    def run_all(self, depth: int, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], context: Any, cache: StackCache | None,
                lengths: Int[Tensor, " batch"] | None) -> Float[Tensor, "batch seq dim"]:
        """One layer over all these positions. ``context`` is what it reads where there is no cache; made here if None."""
        block: Any = self.blocks[depth]
        if cache is None:
            return block(x, block.context(segment_ids, positions, x.dtype) if context is None else context, None)[0]
        before, past = cache.segment_ids[depth], cache.layers[depth]
        x, new = block(x, block.context(torch.cat([before, segment_ids], dim=1), positions, x.dtype), past)
        cache.layers[depth] = block.update_cache(past, new, lengths)
        cache.segment_ids[depth] = update_cache(before, segment_ids, self.lookback, lengths, empty=NOTHING)
        return x

    def select(self, segment_ids: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"],
               chosen: Bool[Tensor, "batch seq"], room: int | None = None) -> Selection | None:
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

    def residual(self, depth: int, x: Float[Tensor, "batch seq dim"], selection: Selection, cache: StackCache | None
                 ) -> Float[Tensor, "batch seq dim"]:
        """What a layer adds to the selected positions, which are all that it sees; 0 elsewhere."""
        wide = None if selection.order is None else selection.order[..., None].expand(*selection.order.shape, x.shape[2])
        part = x if wide is None else x.gather(1, wide)
        out = self.run_all(depth, part, selection.segment_ids, selection.positions, None, cache, selection.count)
        if wide is None:
            return out - x
        change = (out - part).masked_fill(~selection.exists[..., None], 0)
        return torch.zeros_like(x).scatter(1, wide, change.to(x.dtype))


def valid_mask(segment_ids: Int[Tensor, "batch seq"], lengths: Int[Tensor, " batch"] | None) -> Bool[Tensor, "batch seq"]:
    """Which positions hold something: neither padding nor past a row's length."""
    found = segment_ids != NOTHING
    if lengths is not None:
        found = found & (torch.arange(segment_ids.shape[1], device=segment_ids.device) < lengths[:, None])
    return found


def refuse_bidirectional(bidirectional: bool, depth: str) -> None:
    """UserError where positions shall see later ones: layers of such a stack keep only positions that went through them."""
    if bidirectional:
        raise UserError(f"depth = {depth} reads in one direction only; choose depth = full to read in both")
