"""The language model. Only this module puts its parts together."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stlm.data.batch import Inputs
from stlm.model.backbone import Backbone, PatchBackbone, TokenBackbone, TrunkOutput
from stlm.model.hashing import ngram_hashes
from stlm.model.layout import START, latest, segment_positions
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.model.patching import Boundaries
from stlm.model.scores import Scores
from stlm.nn.dropout import Noise
from stlm.nn.memory import Memory
from stlm.nn.norm import RMSNorm, rms_norm
from stlm.nn.stack import NOTHING, Stack, StackCache, update_cache
from stlm.nn.weights import Role, Successors, linear
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass
class Cache(Memory):
    """What a model stores of each row between calls. `LM.new_cache` makes an empty cache.

    recent, recent_ids: the last tokens that the embedding needs, right-aligned, and their segment ids. last: segment id and
    position of the last token. The other fields are the memories of the parts of the same name.
    """

    encoder: StackCache
    backbone: Memory
    decoder: StackCache
    patching: Memory
    head: Memory
    copying: Memory
    recent: Int[Tensor, "batch past"]
    recent_ids: Int[Tensor, "batch past"]
    last: Int[Tensor, "batch 2"]


class LM(nn.Module):
    """bytes -> encoder -> pooled patches -> trunk -> decoder -> scores of the next byte.

    The scores at a byte depend on the bytes of its document up to this byte: through the encoder and the decoder on the last
    few bytes, and through the trunk's last output on all bytes of completed patches.
    """

    reach: Tensor

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        local, vocab_size = config.local_dim, tokenizer.vocab_size
        self.config, self.bos, self.roles = config, tokenizer.bos, {"table": Role.TABLE}
        self.table = nn.Parameter(torch.randn(vocab_size, local) * 0.25 * local**-0.5)
        self.embedding = config.embedding.build(local, tokenizer)
        self.patching = config.patching.build(tokenizer, local)
        self.encoder = Stack([config.local.build(local) for _ in range(config.encoder_layers)])
        pooling = config.pooling.build(local)
        to_trunk = nn.Sequential(RMSNorm(local), linear(local, config.dim))
        trunk = config.depth.build(config.sharing.build(config.trunk, config.dim, config.layers), config.dim)
        head = config.head.build(local, vocab_size)
        from_trunk = nn.Sequential(RMSNorm(config.dim), linear(config.dim, head.trunk_dim))
        if config.patching.every_token and config.dim == local:
            to_trunk, from_trunk = nn.Sequential(), nn.Sequential()
        parts = {"to_trunk": to_trunk, "trunk": trunk, "from_trunk": from_trunk}
        self.backbone: Backbone[Any] = (TokenBackbone(**parts) if config.patching.every_token else
                                        PatchBackbone(pooling=pooling, **parts))
        self.head = head
        self.decoder = Stack(list(self.encoder.blocks) if config.tie_local else  # type: ignore[arg-type]
                             [config.local.build(local) for _ in range(config.decoder_layers)])
        self.norm = RMSNorm(local)
        self.copying = config.copying.build(local, tokenizer)
        self.reach_most = max(trunk.orders, default=1) - 1  # tokens before the last one of an n-gram that the trunk is given
        self.register_buffer("reach", torch.tensor(trunk.orders, dtype=torch.long) - 1, persistent=False)
        self.noise: Noise | None = None  # of its dropouts; without, nothing is dropped
        self.embedding_dropout: nn.Module = nn.Identity()

    @property
    def device(self) -> torch.device:
        return self.table.device

    @property
    def trunk(self) -> Stack:
        return self.backbone.trunk

    def with_trunk(self, trunk: Stack) -> LM:
        """The same model with another trunk. All other parts are shared."""
        other, backbone = copy.copy(self), copy.copy(self.backbone)
        other._modules, backbone._modules = dict(self._modules), dict(self.backbone._modules)
        backbone.trunk, other.backbone = trunk, backbone
        return other

    @property
    def supports_bidirectional(self) -> bool:
        """Whether some part of the model can read rows in both directions."""
        return any(stack.supports_bidirectional for stack in (self.encoder, self.trunk, self.decoder))

    @property
    def flops_change(self) -> bool:
        """Whether the cost of a token changes in training."""
        return self.patching.flops_change or self.trunk.flops_change or self.config.sharing.flops_change

    @property
    def leaves_out(self) -> bool:
        """Whether a step of training may leave out some weights, so that they get no gradient."""
        return self.trunk.leaves_out or self.config.sharing.leaves_out

    def load_frozen(self, load: Callable[[str, nn.Module], None]) -> None:
        """Called before the first step of a new run. ``load(run, module)`` fills a module with the weights of another run."""
        self.patching.load_frozen(load)

    def set_progress(self, progress: float) -> Successors:
        """Set the share of training that is over, 0 to 1, for parts that change in training. A new model is as at the end.
        Returns the parameters that succeed others now.
        """
        self.trunk.active = self.config.sharing.layers_at(progress, self.config.layers)
        if self.noise is not None:
            self.noise.set_progress(progress)
        return self.head.set_progress(progress, self.table)

    def new_cache(self, batch: int) -> Cache:
        """An empty memory for ``batch`` rows."""
        def rows(*values: int) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=self.device).expand(batch, -1)

        return Cache(self.encoder.new_cache(batch, self.device),
                     self.backbone.new_memory(batch, self.config.local_dim, self.head.trunk_dim, self.device),
                     self.decoder.new_cache(batch, self.device), self.patching.new_memory(batch, self.device),
                     self.head.new_memory(batch, self.device), self.copying.new_memory(batch, self.device),
                     recent=rows(), recent_ids=rows(), last=rows(*START))

    def forward(self, batch: Inputs, cache: Cache | None = None) -> Output:
        """The scores of the token after each input. With a cache, the inputs continue those of earlier calls."""
        inputs, lengths, both_ways = batch.inputs, batch.lengths, batch.bidirectional
        if self.noise is not None and self.training:
            self.noise.begin(batch.rows, len(inputs))
        segment_ids, own_positions = segment_positions(inputs == self.bos, cache.last if cache else None)
        positions = own_positions if batch.positions is None else batch.positions
        tokens, ids = self._read(batch, segment_ids, cache)
        embedded = self._embed(tokens, ids, inputs.shape[1])
        hashes = ngram_hashes(tokens, ids, inputs.shape[1], self.reach, self.reach_most) if self.trunk.orders else None
        encoded = self.encoder(embedded, segment_ids, positions, cache.encoder if cache else None, lengths, both_ways).states
        boundaries = (Boundaries(batch.ends) if batch.ends is not None else
                      self.patching(inputs, segment_ids, own_positions, encoded, cache.patching if cache else None, lengths))
        output = self.backbone(encoded, segment_ids, positions, boundaries, batch.n_patches, lengths,
                               cache.backbone if cache else None, both_ways, hashes)
        scores, hidden = self._scores(encoded, segment_ids, positions, output, batch, cache)
        exits = [(self._scores(encoded, segment_ids, positions, early, batch, None)[0], weight)
                 for early, weight in output.at_exits()]
        if cache is not None:
            cache.last = latest(torch.stack([segment_ids, own_positions], dim=2), lengths, cache.last)
        losses = {**boundaries.aux_losses, **output.aux_losses}
        return Output(scores, hidden, boundaries.ends, output, exits, losses, output.metrics)

    def _scores(self, encoded: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], output: TrunkOutput, batch: Inputs, cache: Cache | None
                ) -> tuple[Scores, Float[Tensor, "batch seq dim"]]:
        """The scores for these trunk outputs, and the vectors that the head read."""
        mixed = self.head.combine(encoded, output, cache.head if cache else None, batch.lengths)
        decoded = self.decoder(mixed, segment_ids, positions, cache.decoder if cache else None, batch.lengths,
                               batch.bidirectional).states
        hidden = self.norm(decoded)
        scores = self.copying(self.head(hidden, self.table.to(hidden.dtype)), hidden, output, batch.inputs, segment_ids,
                              cache.copying if cache else None, batch.lengths, batch.n_pairs)
        return scores, hidden

    def _read(self, batch: Inputs, segment_ids: Int[Tensor, "batch seq"], cache: Cache | None
              ) -> tuple[Int[Tensor, "batch total"], Int[Tensor, "batch total"]]:
        """The inputs after the tokens before them that are needed, and their segment ids."""
        tokens, keep = batch.inputs, max(self.embedding.lookback, self.reach_most)
        if cache is None or not keep:
            return tokens, segment_ids
        both = torch.cat([cache.recent, tokens], dim=1), torch.cat([cache.recent_ids, segment_ids], dim=1)
        cache.recent = update_cache(cache.recent, tokens, keep, batch.lengths)
        cache.recent_ids = update_cache(cache.recent_ids, segment_ids, keep, batch.lengths, empty=NOTHING)
        return both

    def _embed(self, tokens: Int[Tensor, "batch total"], segment_ids: Int[Tensor, "batch total"], seq: int
               ) -> Float[Tensor, "batch seq dim"]:
        kind = tokens.device.type
        x = self.embedding_dropout(rms_norm(self.embedding(tokens, segment_ids, seq, self.table)))
        return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
