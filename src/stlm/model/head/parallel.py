"""Predicts all tokens of the next patch at once, from the trunk output alone. This is the decoder of the paper behind this
project (arXiv 2405.14159, section 3.1, as in its authors' code).

The trunk output is split into one slot for each token of a patch. Small blocks, in which the slots of a patch see each other,
turn the slots into scores. The scores of a token don't depend on the earlier tokens of its patch. The end of the patch is
predicted too, so the likelihood is proper: it is a product of one distribution for each token. The authors don't predict the
end, and they truncate patches that are too long.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import LayersOrNone, Range, Size
from stlm.model.backbone import TrunkOutput
from stlm.model.head import Head, HeadConfig
from stlm.model.layout import latest, take
from stlm.nn.block import attention, check_width
from stlm.nn.memory import Memory
from stlm.nn.norm import RMSNorm
from stlm.nn.weights import Role, linear


@dataclasses.dataclass(frozen=True)
class Config(HeadConfig):
    """All tokens of the next patch are predicted at once, without a decoder."""

    slots: Annotated[int, Range(1, 4096)] = 13
    """Largest number of tokens in a patch, its end included. Later tokens all use the last slot."""
    layers: LayersOrNone = 2
    """Number of blocks in which the slots of a patch see each other."""
    heads: Size = 4
    """Number of attention heads in these blocks."""

    def check(self, model: Any) -> None:
        if model.patching.every_token:
            raise ValueError("head = parallel predicts all tokens of a patch at once, but patching = none has no patches; "
                             "choose another patching")
        if model.copying.copies:
            raise ValueError(f"head = parallel doesn't go with copying = {model.copying.kind}, which needs the first tokens of "
                             "a patch to predict the others; choose copying = none")
        if model.decoder_layers > 0:
            raise ValueError("head = parallel works without a decoder; set decoder_layers = 0")
        check_width("local_dim", model.local_dim, attention.Config(heads=self.heads))

    def build(self, dim: int, vocab_size: int) -> Parallel:
        return Parallel(dim, vocab_size, self)


@dataclasses.dataclass
class SlotMemory(Memory):
    """since: the number of tokens after the last end of a patch, 0 at the end itself."""

    since: Int[Tensor, "batch 1"]


class Parallel(Head[SlotMemory]):
    reads_patch = False

    def __init__(self, dim: int, vocab_size: int, config: Config) -> None:
        super().__init__(trunk_dim=config.slots * dim)
        self.slots = config.slots
        self.places = nn.Parameter(torch.randn(config.slots, dim))
        self.blocks = nn.ModuleList(SlotBlock(dim, config.heads) for _ in range(config.layers))
        self.table = linear(dim, vocab_size, zero=True, role=Role.TABLE)

    def new_memory(self, batch: int, device: torch.device) -> SlotMemory:
        return SlotMemory(torch.zeros(batch, 1, dtype=torch.long, device=device))

    def combine(self, encoded: Float[Tensor, "batch seq dim"], output: TrunkOutput, memory: SlotMemory | None,
                lengths: Int[Tensor, " batch"] | None) -> Float[Tensor, "batch seq dim"]:
        """The slot of each byte. The earlier bytes of its patch are not read."""
        x = output.states.unflatten(-1, (self.slots, -1))
        x = x + self.places.to(x.dtype)
        for block in self.blocks:
            x = block(x)
        since = self._since(output.boundaries.ends, memory, lengths).clamp(max=self.slots - 1)
        return output.boundaries.straight_through(take(x.flatten(1, 2), output.patch_index * self.slots + since))

    def _since(self, ends: Bool[Tensor, "batch seq"], memory: SlotMemory | None, lengths: Int[Tensor, " batch"] | None
               ) -> Int[Tensor, "batch seq"]:
        """For each token, the number of tokens after the last end of a patch, 0 at an end."""
        index = torch.arange(ends.shape[1], device=ends.device).expand(ends.shape)
        last = torch.where(ends, index, -1).cummax(dim=1).values
        if memory is None:
            return index - last.clamp(min=0)
        since = torch.where(last >= 0, index - last, memory.since + 1 + index)
        memory.since = latest(since[..., None], lengths, memory.since)
        return since

    def forward(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"]
                ) -> Float[Tensor, "batch seq token"]:
        return self.table(hidden)


class SlotBlock(nn.Module):
    """Attention among the slots of one patch, in both directions, then a feed-forward layer."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.qkv, self.out = RMSNorm(dim), linear(dim, 3 * dim), linear(dim, dim, zero=True)
        self.ffn_norm, self.up, self.down = RMSNorm(dim), linear(dim, 4 * dim), linear(4 * dim, dim, zero=True)

    def forward(self, x: Float[Tensor, "batch patch slot dim"]) -> Float[Tensor, "batch patch slot dim"]:
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).movedim(2, -2).unbind(2)
        scores = (q * q.shape[-1]**-0.5) @ k.mT
        x = x + self.out((scores.softmax(-1) @ v).movedim(-3, -2).flatten(-2))
        return x + self.down(F.gelu(self.up(self.ffn_norm(x))))
