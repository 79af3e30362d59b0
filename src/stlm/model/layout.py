"""Which byte belongs to which patch, as index tensors. Every pooling reads them."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from stlm.nn.stack import NOTHING

START = (0, -1)  # segment id and position before the first token of a row


@dataclasses.dataclass(frozen=True)
class Layout:
    """``patch_of_byte``: the patch that each byte is pooled into; ``n_patches``, one past the last, for bytes that aren't
    pooled. ``end``: the byte that ends each patch; 0 for patches that don't exist. ``exists``: which patches exist. ``ended``:
    how many patches have ended up to each byte, itself included. ``count``: the number of patches in each row. ``pending``:
    bytes whose patch has not ended.
    """

    patch_of_byte: Int[Tensor, "batch byte"]
    end: Int[Tensor, "batch patch"]
    exists: Bool[Tensor, "batch patch"]
    ended: Int[Tensor, "batch byte"]
    count: Int[Tensor, " batch"]
    pending: Bool[Tensor, "batch byte"]

    @property
    def n_patches(self) -> int:
        return self.end.shape[1]

    def at_ends(self, x: Tensor) -> Tensor:
        """``x`` [batch, byte, ...] at the end of every patch: [batch, patch, ...]."""
        return take(x, self.end)


def layout(ends: Bool[Tensor, "batch byte"], segment_ids: Int[Tensor, "batch byte"],
           n_patches: int | None = None) -> Layout:
    """The layout of rows with these ends. ``n_patches``: the number of patches to allocate for each row; if None, the largest
    number in any row.

    A patch pools bytes of one document only. The bytes of an unfinished patch at the end of a document aren't pooled.
    """
    ended = ends.long().cumsum(dim=1)
    count = ended[:, -1]
    room = int(count.max()) if n_patches is None else n_patches
    batch, seq = ends.shape
    index = torch.arange(seq, device=ends.device).expand(batch, seq)
    slot = torch.where(ends, ended - 1, room)  # an extra slot receives the bytes that aren't ends
    end = torch.zeros(batch, room + 1, dtype=torch.long, device=ends.device).scatter_(1, slot, index)[:, :room]
    exists = torch.arange(room, device=ends.device) < count[:, None]
    patch = ended - ends.long()
    owner = torch.where(exists, segment_ids.gather(1, end), NOTHING)
    owner = torch.cat([owner, owner.new_full((batch, 1), NOTHING)], dim=1)
    pooled = (owner.gather(1, patch) == segment_ids) & (segment_ids != NOTHING)
    pending = (patch == count[:, None]) & (segment_ids != NOTHING)
    return Layout(torch.where(pooled, patch, room), end, exists, ended, count, pending)


def take(x: Tensor, index: Int[Tensor, "batch n"]) -> Tensor:
    """``x`` [batch, m, ...] at ``index``: [batch, n, ...]."""
    wide = index.reshape(*index.shape, *[1] * (x.dim() - 2)).expand(*index.shape, *x.shape[2:])
    return x.gather(1, wide)


def means(x: Float[Tensor, "batch m dim"], group: Int[Tensor, "batch m"], n: int) -> Float[Tensor, "batch n dim"]:
    """The mean of the vectors of each group, from 0 to n - 1; 0 for a group without any. Group n is left out."""
    total = x.new_zeros(len(x), n + 1, x.shape[2]).scatter_add(1, group[..., None].expand_as(x), x)
    count = x.new_zeros(len(x), n + 1).scatter_add(1, group, torch.ones_like(x[..., 0]))
    return total[:, :-1] / count[:, :-1, None].clamp(min=1)


def segment_positions(opens: Bool[Tensor, "batch seq"], before: Int[Tensor, "batch 2"] | None = None
                      ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    """The segment id of every token, and its position within its document.

    opens: where a document begins. before: segment id and position of the token before these; `START` if None.
    """
    index = torch.arange(opens.shape[1], device=opens.device).expand(opens.shape)
    last_id, last_position = START if before is None else (before[:, :1], before[:, 1:])
    segment_ids = last_id + opens.long().cumsum(dim=1)
    start = torch.where(opens, index, -1).cummax(dim=1).values
    return segment_ids, torch.where(start >= 0, index - start, last_position + 1 + index)


def latest(values: Tensor, lengths: Int[Tensor, " batch"] | None, before: Tensor) -> Tensor:
    """``values`` [batch, seq, n] at the last valid position of each row: [batch, n]; ``before`` for rows without one."""
    if lengths is None:
        return values[:, -1]
    return take(torch.cat([before[:, None], values], dim=1), lengths[:, None])[:, 0]


def changed(segment_ids: Int[Tensor, "batch patch"], before: Int[Tensor, "batch n"]) -> Bool[Tensor, "batch patch"]:
    """Where the segment id differs from that of the patch before. ``before[:, 0]`` is the segment id before the first patch."""
    return segment_ids != torch.cat([before[:, :1], segment_ids[:, :-1]], dim=1)
