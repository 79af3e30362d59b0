"""The configuration of a model."""

from __future__ import annotations

import dataclasses

from stlm.config.bounds import Checked, Layers, LayersOrNone, Size
from stlm.model.copying import CopyingConfig
from stlm.model.copying import none as no_copying
from stlm.model.depth import DepthConfig, full
from stlm.model.embedding import EmbeddingConfig, tokens
from stlm.model.head import HeadConfig, tied
from stlm.model.patching import PatchingConfig, whitespace
from stlm.model.pooling import PoolingConfig, mean
from stlm.model.sharing import SharingConfig
from stlm.model.sharing import none as unshared
from stlm.nn.block import BlockConfig, attention, check_width, conv


@dataclasses.dataclass(frozen=True)
class ModelConfig(Checked):
    """The encoder reads bytes, pooling makes patches of them, the trunk reads the patches, and the decoder predicts bytes. All
    are causal.
    """

    dim: Size = 256
    """Width of the trunk."""
    layers: Layers = 4
    """Number of blocks in the trunk."""
    trunk: BlockConfig = attention.Config()
    """Kind of the blocks in the trunk, which reads patches."""
    sharing: SharingConfig = unshared.Config()
    """Which layers of the trunk share weights."""
    depth: DepthConfig = full.Config()
    """How many layers of the trunk a patch goes through."""
    local_dim: Size = 128
    """Width of the encoder, the decoder and the table of tokens."""
    embedding: EmbeddingConfig = tokens.Config()
    """How a token becomes a vector."""
    local: BlockConfig = conv.Config()
    """Kind of the blocks in the encoder and the decoder."""
    encoder_layers: LayersOrNone = 2
    """Number of blocks in the encoder, which reads bytes before they are pooled."""
    decoder_layers: LayersOrNone = 2
    """Number of blocks in the decoder, which predicts bytes from the encoder's and the trunk's outputs."""
    tie_local: bool = False
    """Use the same blocks in the encoder and the decoder."""
    patching: PatchingConfig = whitespace.Config()
    """Where a patch ends."""
    pooling: PoolingConfig = mean.Config()
    """How the bytes of a patch become one vector."""
    head: HeadConfig = tied.Config()
    """How a vector becomes scores of the next token."""
    copying: CopyingConfig = no_copying.Config()
    """How tokens may be copied from earlier in the document."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tie_local and self.encoder_layers != self.decoder_layers:
            raise ValueError(f"tie_local needs the same number of blocks in the encoder and the decoder; encoder_layers = "
                             f"{self.encoder_layers}, decoder_layers = {self.decoder_layers}")
        check_width("dim", self.dim, self.trunk)
        self.sharing.check(self.layers, self.trunk)
        if self.encoder_layers + self.decoder_layers > 0:
            check_width("local_dim", self.local_dim, self.local)
        self.pooling.check(self)
        self.head.check(self)
        self.depth.check(self)
