"""The backbone: from the encoder's vectors to the trunk's outputs, over whole rows or piece by piece.

`PatchBackbone` pools bytes to patches and runs the trunk over the patches. Each byte reads the output of the last patch that
has ended. `TokenBackbone` has no patches: the trunk runs over every token.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.model.layout import START, Layout, changed, latest, layout, segment_positions, take
from stlm.model.patching import Boundaries
from stlm.model.pooling import Pooling
from stlm.model.room import rounded_up
from stlm.nn.memory import Memory
from stlm.nn.stack import NOTHING, Hashes, RowMask, Stack, StackCache, StackOutput, update_cache

M = TypeVar("M", bound=Memory)


@dataclasses.dataclass(frozen=True)
class TrunkOutput:
    """The trunk's outputs. states: one for each patch; patch_index: the index of the state that each byte reads; boundaries:
    where patches end; exits: in training, the outputs of an earlier layer, with the weight of their loss; aux_losses: losses of
    the trunk's own parts, by name, one for each row; metrics: further figures of each row, by name; inputs: the trunk's inputs,
    one for each patch, if whole rows are read.
    """

    states: Float[Tensor, "batch n width"]
    patch_index: Int[Tensor, "batch seq"]
    boundaries: Boundaries
    exits: list[tuple[Float[Tensor, "batch n width"], float]] = dataclasses.field(default_factory=list)
    aux_losses: dict[str, Float[Tensor, " batch"]] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Float[Tensor, " batch"]] = dataclasses.field(default_factory=dict)
    inputs: Float[Tensor, "batch n inner"] | None = None

    def per_token(self) -> Float[Tensor, "batch seq width"]:
        """The output that each byte reads."""
        return self.boundaries.straight_through(take(self.states, self.patch_index))

    def joined(self, encoded: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq dim"]:
        """The input of the decoder: the encoder's vectors plus the trunk's outputs."""
        return encoded + self.per_token()

    def at_exits(self) -> Iterator[tuple[TrunkOutput, float]]:
        """The trunk's output at each of ``exits``, with the weight of its loss."""
        for states, weight in self.exits:
            yield dataclasses.replace(self, states=states), weight


@dataclasses.dataclass(frozen=True)
class TokenOutput(TrunkOutput):
    """The trunk's outputs if every token has one. They alone are the input of the decoder."""

    def per_token(self) -> Float[Tensor, "batch seq width"]:
        return self.states

    def joined(self, encoded: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq dim"]:
        return self.states


class Backbone(nn.Module, abc.ABC, Generic[M]):
    """The projection into the trunk, the trunk, and the projection out of it: ``parts``, by these names."""

    to_trunk: nn.Module
    trunk: Stack
    from_trunk: nn.Module

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.trunk.in_trunk = True  # type: ignore[assignment]

    @abc.abstractmethod
    def new_memory(self, batch: int, width: int, output_width: int, device: torch.device) -> M:
        """An empty memory for ``batch`` rows of encoded vectors of ``width``; the trunk's outputs have ``output_width``."""

    @abc.abstractmethod
    def forward(self, encoded: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], boundaries: Boundaries, n_patches: int | None,
                lengths: Int[Tensor, " batch"] | None, memory: M | None, bidirectional: RowMask = None,
                hashes: Hashes = None) -> TrunkOutput:
        """Run over whole rows, or continue from ``memory``. n_patches: the number of patches to allocate for each row, if
        known. hashes: of the n-grams that end at each byte, for a trunk that adds n-grams between its layers.
        """

    def _output(self, inputs: Tensor, found: StackOutput, states: list[Tensor], index: Tensor, boundaries: Boundaries,
                kind: type[TrunkOutput]) -> TrunkOutput:
        exits = [(early, weight) for early, (_, weight) in zip(states[1:], found.exits, strict=True)]
        return kind(states[0], index, boundaries, exits, found.aux_losses, found.metrics, inputs)


class TokenBackbone(Backbone[StackCache]):
    """The trunk runs over every token. Nothing is pooled."""

    def new_memory(self, batch: int, width: int, output_width: int, device: torch.device) -> StackCache:
        return self.trunk.new_cache(batch, device)

    def forward(self, encoded: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], boundaries: Boundaries, n_patches: int | None,
                lengths: Int[Tensor, " batch"] | None, memory: StackCache | None, bidirectional: RowMask = None,
                hashes: Hashes = None) -> TrunkOutput:
        inputs = self.to_trunk(encoded)
        found = self.trunk(inputs, segment_ids, positions, memory, lengths, bidirectional, hashes)
        states = [self.from_trunk(x) for x in (found.states, *(x for x, _ in found.exits))]
        index = torch.arange(positions.shape[1], device=positions.device).expand_as(positions)
        return self._output(inputs, found, states, index, boundaries, TokenOutput)


@dataclasses.dataclass
class PatchMemory(Memory):
    """trunk: the trunk's cache. last_patch: segment id and position of the last patch. pending, pending_ids: encoded bytes
    whose patch has not ended, right-aligned, and their segment ids. output: the last output of the trunk, in the form that
    bytes read.
    """

    trunk: StackCache
    last_patch: Int[Tensor, "batch 2"]
    pending: Float[Tensor, "batch kept dim"]
    pending_ids: Int[Tensor, "batch kept"]
    output: Float[Tensor, "batch width"]


class PatchBackbone(Backbone[PatchMemory]):
    """Bytes are pooled to patches, and the trunk runs over the patches. Its parts include a pooling."""

    pooling: Pooling

    def new_memory(self, batch: int, width: int, output_width: int, device: torch.device) -> PatchMemory:
        def nothing(*shape: int) -> Tensor:
            like = next(self.parameters())
            return torch.zeros(batch, *shape, dtype=like.dtype, device=device)

        last = torch.tensor(START, device=device).expand(batch, -1)
        return PatchMemory(self.trunk.new_cache(batch, device), last, nothing(0, width),
                           torch.empty(batch, 0, dtype=torch.long, device=device), nothing(output_width))

    def forward(self, encoded: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], boundaries: Boundaries, n_patches: int | None,
                lengths: Int[Tensor, " batch"] | None, memory: PatchMemory | None,
                bidirectional: RowMask = None, hashes: Hashes = None) -> TrunkOutput:
        if memory is not None:
            return self._continue(encoded, segment_ids, boundaries, lengths, memory, hashes)
        room = n_patches or rounded_up(int(boundaries.ends.sum(dim=1).max()))
        where = layout(boundaries.ends, segment_ids, room)
        owners = where.at_ends(segment_ids).masked_fill(~where.exists, NOTHING)
        _, patch_positions = segment_positions(changed(owners, owners))
        inputs = self.to_trunk(self.pooling(encoded, where))
        found = self.trunk(inputs, owners, patch_positions, bidirectional=bidirectional,
                           hashes=None if hashes is None else where.at_ends(hashes))
        states = [boundaries.dechunk(self.from_trunk(x), where.at_ends, None)
                  for x in (found.states, *(x for x, _ in found.exits))]
        return self._output(inputs, found, states, where.ended - 1, boundaries, TrunkOutput)

    def _continue(self, encoded: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"], boundaries: Boundaries,
                  lengths: Int[Tensor, " batch"] | None, memory: PatchMemory, hashes: Hashes
                  ) -> TrunkOutput:
        """Continue from ``memory``. A patch that ends in this call also pools the pending bytes."""
        (rows, seq), ends, n_pending = segment_ids.shape, boundaries.ends, memory.pending.shape[1]
        if lengths is not None:
            ends = ends & (torch.arange(seq, device=ends.device) < lengths[:, None])
        encoded = torch.cat([memory.pending, encoded], dim=1)
        segment_ids = torch.cat([memory.pending_ids, segment_ids], dim=1)
        if lengths is None and not ends.any():  # the usual case in decoding: no patch ends
            if self.pooling.needs_whole_patch:
                memory.pending, memory.pending_ids = encoded, segment_ids
            return TrunkOutput(memory.output[:, None], torch.zeros_like(segment_ids[:, -seq:]), boundaries)
        where = layout(F.pad(ends, (n_pending, 0)), segment_ids)
        if self.pooling.needs_whole_patch:
            self._keep_pending(encoded, segment_ids, where, None if lengths is None else lengths + n_pending, memory)
        outputs = memory.output[:, None]
        if where.n_patches > 0:
            counts = where.count if rows > 1 else None
            owners = where.at_ends(segment_ids).masked_fill(~where.exists, NOTHING)
            _, patch_positions = segment_positions(changed(owners, memory.last_patch), memory.last_patch)
            at_ends = None if hashes is None else where.at_ends(F.pad(hashes, (0, 0, n_pending, 0)))
            states = self.trunk(self.to_trunk(self.pooling(encoded, where)), owners, patch_positions, memory.trunk,
                                counts, hashes=at_ends).states
            new = boundaries.dechunk(self.from_trunk(states), lambda x: where.at_ends(F.pad(x, (n_pending, 0))), memory.output)
            outputs = torch.cat([outputs, new], dim=1)
            memory.last_patch = latest(torch.stack([owners, patch_positions], dim=2), counts, memory.last_patch)
            memory.output = take(outputs, where.count[:, None])[:, 0]
        return TrunkOutput(outputs, where.ended[:, -seq:], boundaries)

    def _keep_pending(self, encoded: Float[Tensor, "batch byte dim"], segment_ids: Int[Tensor, "batch byte"], where: Layout,
                      lengths: Int[Tensor, " batch"] | None, memory: PatchMemory) -> None:
        """Store the bytes whose patch has not ended."""
        keep = int(where.pending.sum(dim=1).max())
        owners = segment_ids.masked_fill(~where.pending, NOTHING)
        memory.pending = update_cache(None, encoded, keep, lengths)
        memory.pending_ids = update_cache(None, owners, keep, lengths, empty=NOTHING)
