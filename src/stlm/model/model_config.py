"""How a model is described."""

from __future__ import annotations

import dataclasses

from stlm.model.copying import CopyingConfig
from stlm.model.copying import none as as_it_is
from stlm.model.depth import DepthConfig, full
from stlm.model.embedding import EmbeddingConfig, symbols
from stlm.model.head import HeadConfig, tied
from stlm.model.patching import PatchingConfig, whitespace
from stlm.model.pooling import PoolingConfig, mean
from stlm.model.sharing import SharingConfig
from stlm.model.sharing import none as unshared
from stlm.nn.block import BlockConfig, attention, conv


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Bytes, a causal encoder, patches, a causal trunk over the patches, a causal decoder, bytes."""

    dim: int = 256
    """Width of the trunk."""
    layers: int = 4
    """Blocks of the trunk."""
    trunk: BlockConfig = attention.Config()
    """Blocks of the trunk, which reads patches."""
    sharing: SharingConfig = unshared.Config()
    """Which layers of the trunk own which weights."""
    depth: DepthConfig = full.Config()
    """How much of the trunk a patch goes through."""
    local_dim: int = 128
    """Width of the byte table, the encoder and the decoder."""
    embedding: EmbeddingConfig = symbols.Config()
    """How a token, with those before it, becomes a vector."""
    local: BlockConfig = conv.Config()
    """Blocks of the encoder and the decoder."""
    encoder_layers: int = 2
    """Blocks of the encoder, which reads bytes before they are pooled."""
    decoder_layers: int = 2
    """Blocks of the decoder, which predicts bytes from themselves and the trunk's last answer."""
    tie_local: bool = False
    """Whether the decoder's blocks are the encoder's."""
    patching: PatchingConfig = whitespace.Config()
    """Where a patch ends."""
    pooling: PoolingConfig = mean.Config()
    """How the bytes of a patch become one vector."""
    head: HeadConfig = tied.Config()
    """How the scores of the next token are read."""
    copying: CopyingConfig = as_it_is.Config()
    """Whether the next token may be copied from earlier in the document."""

    def __post_init__(self) -> None:
        for name in ("dim", "layers", "local_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: it has to be 1 or more")
        for name in ("encoder_layers", "decoder_layers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}: it has to be 0 or more")
        if self.tie_local and self.encoder_layers != self.decoder_layers:
            raise ValueError(f"tie_local needs as many blocks in the encoder as in the decoder, not {self.encoder_layers} and "
                             f"{self.decoder_layers}")
        self.trunk.check(self.dim)
        self.sharing.check(self.layers, self.trunk)
        if self.encoder_layers + self.decoder_layers > 0:
            self.local.check(self.local_dim)
        self.pooling.check(self)
        self.head.check(self)
        self.depth.check(self)
