"""Which byte belongs to which patch: the one contract of pooling, as index tensors."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from stlm.nn.stack import NOTHING

START = (0, -1)  # document and position of the place before a row's first


@dataclasses.dataclass(frozen=True)
class Layout:
    """``patch_of_byte``: the patch that each byte is pooled into; ``n_patches``, one past the last, for bytes that no
    patch of this call takes. ``end``: where each patch ends; where a row has fewer patches, the rest points at 0.
    ``answer``: how many patches have ended up to each byte, itself included. ``count``: patches of each row.
    ``waits``: bytes whose patch has not ended.
    """

    patch_of_byte: Int[Tensor, "batch byte"]
    end: Int[Tensor, "batch patch"]
    exists: Bool[Tensor, "batch patch"]
    answer: Int[Tensor, "batch byte"]
    count: Int[Tensor, " batch"]
    waits: Bool[Tensor, "batch byte"]

    @property
    def n_patches(self) -> int:
        return self.end.shape[1]

    def at_ends(self, x: Tensor) -> Tensor:
        """``x`` [batch, byte, ...] at the end of every patch: [batch, patch, ...]."""
        return take(x, self.end)


@dataclasses.dataclass(frozen=True)
class TrunkOutput:
    """What the trunk answers. states: its answers; index: which of them each byte hears. early: answers of a layer on the way
    instead, and how much a loss of them counts; losses: what the trunk adds to the loss, by name; figures: what else is worth
    knowing of it.
    """

    states: Float[Tensor, "batch n dim"]
    index: Int[Tensor, "batch byte"]
    early: list[tuple[Float[Tensor, "batch n dim"], float]] = dataclasses.field(default_factory=list)
    losses: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    figures: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def by_byte(self) -> Float[Tensor, "batch byte dim"]:
        """The answer that each byte hears."""
        return take(self.states, self.index)


def layout(ends: Bool[Tensor, "batch byte"], segment_ids: Int[Tensor, "batch byte"],
           n_patches: int | None = None) -> Layout:
    """Lay bytes out into patches. ``n_patches``: room for that many a row; as many as there are where None.

    A patch takes bytes of one document only: what an earlier document left unfinished is pooled nowhere.
    """
    answer = ends.long().cumsum(dim=1)
    count = answer[:, -1]
    room = int(count.max()) if n_patches is None else n_patches
    batch, seq = ends.shape
    place = torch.arange(seq, device=ends.device).expand(batch, seq)
    slot = torch.where(ends, answer - 1, room)  # one slot too many takes whatever is no end
    end = torch.zeros(batch, room + 1, dtype=torch.long, device=ends.device).scatter_(1, slot, place)[:, :room]
    exists = torch.arange(room, device=ends.device) < count[:, None]
    patch = answer - ends.long()
    owner = torch.where(exists, segment_ids.gather(1, end), NOTHING)
    owner = torch.cat([owner, owner.new_full((batch, 1), NOTHING)], dim=1)
    taken = (owner.gather(1, patch) == segment_ids) & (segment_ids != NOTHING)
    waits = (patch == count[:, None]) & (segment_ids != NOTHING)
    return Layout(torch.where(taken, patch, room), end, exists, answer, count, waits)


def take(x: Tensor, index: Int[Tensor, "batch n"]) -> Tensor:
    """``x`` [batch, m, ...] at ``index``: [batch, n, ...]."""
    wide = index.reshape(*index.shape, *[1] * (x.dim() - 2)).expand(*index.shape, *x.shape[2:])
    return x.gather(1, wide)


def segment_positions(opens: Bool[Tensor, "batch seq"], before: Int[Tensor, "batch 2"] | None = None
           ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    """Number of the document, and position within it, of every token.

    opens: where a document begins. before: number and position of the token before these; `START` where None.
    """
    index = torch.arange(opens.shape[1], device=opens.device).expand(opens.shape)
    if before is None:
        before = torch.tensor([START], device=opens.device).expand(opens.shape[0], 2)
    segment_ids = before[:, :1] + opens.long().cumsum(dim=1)
    start = torch.where(opens, index, -1).cummax(dim=1).values
    return segment_ids, torch.where(start >= 0, index - start, before[:, 1:] + 1 + index)


def latest(values: Tensor, lengths: Int[Tensor, " batch"] | None, before: Tensor) -> Tensor:
    """``values`` [batch, seq, n] at the last place that counts in each row: [batch, n]; ``before``, where no place does."""
    if lengths is None:
        return values[:, -1]
    return take(torch.cat([before[:, None], values], dim=1), lengths[:, None])[:, 0]
