"""A stack whose layers process only some positions. The other positions keep their value, and the layer doesn't see them."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from stlm.nn.stack import NOTHING, Stack, StackCache, update_cache


@dataclasses.dataclass(frozen=True)
class Selection:
    """The positions that a layer processes, gathered into ``room`` entries a row.

    order: the index of each entry in the row; None if all positions are selected. exists: which entries are used. count: the
    number of used entries. segment_ids, positions: those of the entries; unused entries have the segment id `NOTHING`.
    """

    order: Int[Tensor, "batch room"] | None
    exists: Bool[Tensor, "batch room"]
    count: Int[Tensor, " batch"]
    segment_ids: Int[Tensor, "batch room"]
    positions: Int[Tensor, "batch room"]


class SparseStack(Stack, abc.ABC):
    """A subclass selects in ``forward`` the positions that each layer processes. Each layer has its own cached positions."""

    @property
    def supports_bidirectional(self) -> bool:
        return False

    @property
    def can_split(self) -> bool:
        return False

    def new_cache(self, batch: int, device: torch.device) -> StackCache:
        return StackCache.empty(batch, len(self.blocks), device, apart=True)

    def run_all(self, depth: int, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], context: Any, cache: StackCache | None,
                lengths: Int[Tensor, " batch"] | None) -> Float[Tensor, "batch seq dim"]:
        """Run one layer over all positions of ``x``. ``context`` is used without a cache; if None, it is computed here."""
        block: Any = self.blocks[depth]
        if cache is None:
            context = block.context(segment_ids, positions, x.dtype) if context is None else context
            return self.dropped(depth, x, block(x, context, None)[0])
        before, past = cache.segment_ids[depth], cache.layers[depth]
        x, new = block(x, block.context(torch.cat([before, segment_ids], dim=1), positions, x.dtype), past)
        cache.layers[depth] = block.update_cache(past, new, lengths)
        cache.segment_ids[depth] = update_cache(before, segment_ids, self.lookback, lengths, empty=NOTHING)
        return x

    def select(self, segment_ids: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"],
               chosen: Bool[Tensor, "batch seq"], room: int | None = None) -> Selection | None:
        """The chosen positions; None if there are none. room: the number of entries a row, at least as many as any row has
        chosen positions; if None, the largest number of them is computed. In training something is always selected, at least
        an entry that isn't used, so that a layer does the same work in all processes.
        """
        count = chosen.sum(dim=1)
        if room is None:
            fewest, room = (int(n) for n in count.aminmax())
            if room == 0 and not self.training:
                return None
            room = max(room, 1)
            if fewest == chosen.shape[1]:
                return Selection(None, chosen, count, segment_ids, positions)
        order = (~chosen).byte().argsort(dim=1, stable=True)[:, :room]
        exists = torch.arange(room, device=chosen.device) < count[:, None]
        owners = segment_ids.gather(1, order).masked_fill(~exists, NOTHING)
        return Selection(order, exists, count, owners, positions.gather(1, order))

    def residual(self, depth: int, x: Float[Tensor, "batch seq dim"], selection: Selection, cache: StackCache | None
                 ) -> Float[Tensor, "batch seq dim"]:
        """What a layer adds to the selected positions, and 0 elsewhere. The layer sees only the selected positions."""
        wide = None if selection.order is None else selection.order[..., None].expand(*selection.order.shape, x.shape[2])
        part = x if wide is None else x.gather(1, wide)
        out = self.run_all(depth, part, selection.segment_ids, selection.positions, None, cache, selection.count)
        if wide is None:
            return out - x
        change = (out - part).masked_fill(~selection.exists[..., None], 0)
        return torch.zeros_like(x).scatter(1, wide, change.to(x.dtype))


def valid_mask(segment_ids: Int[Tensor, "batch seq"], lengths: Int[Tensor, " batch"] | None) -> Bool[Tensor, "batch seq"]:
    """The positions that are neither padding nor past a row's length."""
    found = segment_ids != NOTHING
    if lengths is not None:
        found = found & (torch.arange(segment_ids.shape[1], device=segment_ids.device) < lengths[:, None])
    return found
