"""A stack whose layers work on some positions only: the others pass by, and aren't seen there."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from stlm.nn.stack import NOTHING, Stack, remember


@dataclasses.dataclass
class SparseCache:
    """What each layer remembers of the positions that went through it: their documents, and what the layer keeps of them."""

    documents: list[Int[Tensor, "batch past"]]
    layers: list[tuple[Tensor, ...] | None]


class SparseStack(Stack):
    """Of such a stack, `travel` says who goes where."""

    def forward(self, x: Float[Tensor, "batch seq dim"], documents: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], cache: Any = None, lengths: Int[Tensor, " batch"] | None = None
                ) -> Float[Tensor, "batch seq dim"]:
        return self.travel(x, documents, positions, cache, lengths).states

    def new_cache(self, batch: int, device: torch.device) -> SparseCache:
        nothing = torch.empty(batch, 0, dtype=torch.long, device=device)
        return SparseCache([nothing] * len(self.blocks), [None] * len(self.blocks))

    def added(self, depth: int, x: Float[Tensor, "batch seq dim"], documents: Int[Tensor, "batch seq"],
              positions: Int[Tensor, "batch seq"], chosen: Bool[Tensor, "batch seq"], cache: SparseCache | None,
              room: int | None = None) -> Float[Tensor, "batch seq dim"]:
        """What a layer adds to the chosen positions, which are all that it sees; 0 elsewhere.

        room: at least as many as are chosen in any row; found out where None.
        """
        block: Any = self.blocks[depth]
        count = chosen.sum(dim=1)
        room = int(count.max()) if room is None else room
        if room == 0:
            return torch.zeros_like(x)
        order = (~chosen).byte().argsort(dim=1, stable=True)[:, :room]
        exists = torch.arange(room, device=x.device) < count[:, None]
        wide = order[..., None].expand(*order.shape, x.shape[2])
        part, places = x.gather(1, wide), positions.gather(1, order)
        owners = documents.gather(1, order).masked_fill(~exists, NOTHING)
        if cache is None:
            out, _ = block(part, block.view(owners, places, x.dtype), None)
        else:
            before, past = cache.documents[depth], cache.layers[depth]
            out, new = block(part, block.view(torch.cat([before, owners], dim=1), places, x.dtype), past)
            cache.layers[depth] = block.remember(past, new, count)
            cache.documents[depth] = remember(before, owners, self.lookback, count, empty=NOTHING)
        change = (out - part).masked_fill(~exists[..., None], 0)
        return torch.zeros_like(x).scatter(1, wide, change.to(x.dtype))


def there(documents: Int[Tensor, "batch seq"], lengths: Int[Tensor, " batch"] | None) -> Bool[Tensor, "batch seq"]:
    """Which positions there are: neither padding nor past a row's length."""
    found = documents != NOTHING
    if lengths is not None:
        found = found & (torch.arange(documents.shape[1], device=documents.device) < lengths[:, None])
    return found
