"""The language model: the only place where its parts are put together."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.data.batch import Inputs
from stlm.data.stream import rounded_up
from stlm.model.layout import START, TrunkOutput, latest, layout, segment_positions, take
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.model.patching import Boundaries, Patching
from stlm.model.scores import Scores
from stlm.nn.init import linear
from stlm.nn.norm import RMSNorm, rms_norm
from stlm.nn.stack import NOTHING, Stack, StackCache, update_cache
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass
class Cache:
    """What a model remembers of each row between calls; `LM.new_cache` makes an empty one.

    recent, recent_in: the last tokens, as far as the embedding looks back, right-aligned, and their documents.
    place, patch_place: number of the document, and position in it, of the last byte and of the last patch.
    patching: what the patching rule remembers. since: tokens after the last end. waiting: encoded bytes whose patch has
    not ended, right-aligned, and waiting_in, their documents. answer: the trunk's last answer, as the decoder reads it.
    copying: what may be copied.
    """

    encoder: StackCache
    trunk: Any
    decoder: StackCache
    recent: Int[Tensor, "batch past"]
    recent_in: Int[Tensor, "batch past"]
    place: Int[Tensor, "batch 2"]
    patch_place: Int[Tensor, "batch 2"]
    patching: Any
    since: Int[Tensor, "batch 1"]
    waiting: Float[Tensor, "batch byte dim"]
    waiting_in: Int[Tensor, "batch byte"]
    answer: Float[Tensor, "batch answer"]
    copying: Any

    def of_rows(self, rows: Int[Tensor, " n"]) -> Cache:
        """The memory of rows ``rows``, each as often as it's named: several texts go on from one beginning."""
        return _rows_of(self, rows)

    def copy(self) -> Cache:
        """The same memory, which stays as it is when this one moves on: tensors in it are replaced, never changed."""
        return _copied(self)


def ends_of_bytes(patching: Patching, bos: int) -> Callable[[Tensor], Tensor] | None:
    """What finds the ends of patches in rows of tokens on the CPU, where tokens alone decide; None where it takes the
    model. ``document`` is the token that opens a document.
    """
    if not patching.in_stream:
        return None
    rule = copy.deepcopy(patching).cpu()

    def find(inputs: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch seq"]:
        return rule(inputs, *segment_positions(inputs == bos), None, None, None).ends
    return find


class LM(nn.Module):
    """bytes -> encoder -> pooled patches -> trunk -> decoder -> scores of the next byte.

    A byte's scores depend on the bytes of its document up to itself: through the encoder and the decoder on the last
    few, through the trunk's last answer on all that stand in completed patches.
    """

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.bos = config, tokenizer.bos
        self.table = nn.Parameter(torch.randn(tokenizer.vocab_size, config.local_dim) * 0.25 * config.local_dim**-0.5)
        self.embedding = config.embedding.build(config.local_dim, tokenizer)
        self.patching = config.patching.build(tokenizer, config.local_dim)
        self.encoder = Stack([config.local.build(config.local_dim) for _ in range(config.encoder_layers)])
        self.pooling = config.pooling.build(config.local_dim)
        self.down = nn.Sequential(RMSNorm(config.local_dim), linear(config.local_dim, config.dim))
        self.trunk = config.depth.build(config.sharing.build(config.trunk, config.dim, config.layers), config.dim)
        self.head = config.head.build(config.local_dim, tokenizer.vocab_size)
        self.up = nn.Sequential(RMSNorm(config.dim), linear(config.dim, self.head.answer_dim or config.local_dim))
        if self.patching.every_token and config.dim == config.local_dim:
            self.down, self.up = nn.Sequential(), nn.Sequential()
        self.decoder = Stack(list(self.encoder.blocks) if config.tie_local else  # type: ignore[arg-type]
                             [config.local.build(config.local_dim) for _ in range(config.decoder_layers)])
        self.norm = RMSNorm(config.local_dim)
        self.copying = config.copying.build(config.local_dim, tokenizer)

    @property
    def device(self) -> torch.device:
        return self.table.device

    def load_frozen(self, load: Callable[[str, nn.Module], None]) -> None:
        """Before a new run's first step: ``load(run, module)`` fills a module with the weights of another run."""
        self.patching.load_frozen(load)

    def set_progress(self, fraction: float) -> None:
        """How much of its training is over, 0 to 1: what changes in its course acts on it. A model that isn't told is ready."""
        self.trunk.active = self.config.sharing.layers_at(fraction, self.config.layers)

    def new_cache(self, batch: int) -> Cache:
        """A memory of nothing for ``batch`` rows."""
        def rows(*values: int) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=self.device).expand(batch, -1)

        encoder, trunk, decoder = (s.new_cache(batch, self.device) for s in (self.encoder, self.trunk, self.decoder))
        dim = self.config.local_dim
        return Cache(encoder, trunk, decoder, recent=rows(), recent_in=rows(), place=rows(*START), patch_place=rows(*START),
                     patching=self.patching.new_memory(batch, self.device), since=rows(0),
                     waiting=self.table.new_zeros(batch, 0, dim), waiting_in=rows(),
                     answer=self.table.new_zeros(batch, self.head.answer_dim or dim),
                     copying=self.copying.new_memory(batch, self.device))

    def forward(self, batch: Inputs, cache: Cache | None = None) -> Output:
        """Scores for the token after each input. With a cache, the inputs follow those of earlier calls."""
        inputs, lengths = batch.inputs, batch.lengths
        segment_ids, positions = segment_positions(inputs == self.bos, cache.place if cache else None)
        embedded = self._embed(batch, segment_ids, cache)
        encoded = self.encoder(embedded, segment_ids, positions, cache.encoder if cache else None, lengths)
        cut = (Boundaries(batch.ends) if batch.ends is not None else
               self.patching(inputs, segment_ids, positions, encoded, cache.patching if cache else None, lengths))
        answers = self._answers(encoded, segment_ids, positions, cut, batch, cache)
        scores, hidden = self._scores(encoded, segment_ids, positions, cut, answers, batch, cache)
        early = [(self._scores(encoded, segment_ids, positions, cut, dataclasses.replace(answers, states=states), batch, None)[0],
                  weight) for states, weight in answers.early]
        if cache is not None:
            cache.place = latest(torch.stack([segment_ids, positions], dim=2), lengths, cache.place)
        ahead = self.head.ahead(hidden, self.table.to(hidden.dtype)) if self.training else None
        return Output(scores, hidden, cut.ends, ahead, early, {**cut.losses, **answers.losses}, answers.figures)

    def _scores(self, encoded: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], cut: Boundaries, answers: TrunkOutput, batch: Inputs, cache: Cache | None
                ) -> tuple[Scores, Float[Tensor, "batch seq dim"]]:
        """Scores, and what they're read from, where these are the trunk's answers."""
        if self.head.answer_dim is not None:
            unfolded = self.head.unfold(answers, self._since(cut.ends, cache, batch.lengths))
            hidden = self.norm(self.patching.straight_through(unfolded, cut))
        else:
            mixed = answers.states
            if not self.patching.every_token:
                mixed = encoded + self.patching.straight_through(answers.by_byte(), cut)
            hidden = self.norm(self.decoder(mixed, segment_ids, positions, cache.decoder if cache else None, batch.lengths))
        scores = self.copying(self.head(hidden, self.table.to(hidden.dtype)), hidden, answers, batch.inputs, segment_ids,
                              cache.copying if cache else None, batch.lengths)
        return scores, hidden

    def _embed(self, batch: Inputs, segment_ids: Int[Tensor, "batch seq"], cache: Cache | None
               ) -> Float[Tensor, "batch seq dim"]:
        tokens, seq, kind = batch.inputs, batch.inputs.shape[1], batch.inputs.device.type
        if cache is not None and self.embedding.lookback:
            keep, new, new_in = self.embedding.lookback, tokens, segment_ids
            tokens = torch.cat([cache.recent, tokens], dim=1)
            segment_ids = torch.cat([cache.recent_in, segment_ids], dim=1)
            cache.recent = update_cache(cache.recent, new, keep, batch.lengths)
            cache.recent_in = update_cache(cache.recent_in, new_in, keep, batch.lengths, empty=NOTHING)
        x = rms_norm(self.embedding(tokens, segment_ids, seq, self.table))
        return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x

    def _since(self, ends: Bool[Tensor, "batch seq"], cache: Cache | None, lengths: Int[Tensor, " batch"] | None
               ) -> Int[Tensor, "batch seq"]:
        """Tokens after the last end, up to each token: 0 at an end."""
        place = torch.arange(ends.shape[1], device=ends.device).expand(ends.shape)
        last = torch.where(ends, place, -1).cummax(dim=1).values
        if cache is None:
            return place - last.clamp(min=0)
        since = torch.where(last >= 0, place - last, cache.since + 1 + place)
        cache.since = latest(since[..., None], lengths, cache.since)
        return since

    def _answers(self, encoded: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                 positions: Int[Tensor, "batch seq"], cut: Boundaries, batch: Inputs, cache: Cache | None) -> TrunkOutput:
        """The trunk's answers, and which of them each byte hears: that to the last patch that ended."""
        if self.patching.every_token:
            went = self.trunk.travel(self.down(encoded), segment_ids, positions, cache.trunk if cache else None, batch.lengths)
            index = torch.arange(positions.shape[1], device=positions.device).expand_as(positions)
            early = [(self.up(x), weight) for x, weight in went.early]
            return TrunkOutput(self.up(went.states), index, early, went.losses, went.figures)
        if cache is not None:
            return self._cached_answers(encoded, segment_ids, cut, batch.lengths, cache)
        room = batch.n_patches or rounded_up(int(cut.ends.sum(dim=1).max()))
        where = layout(cut.ends, segment_ids, room)
        owners = where.at_ends(segment_ids).masked_fill(~where.exists, NOTHING)
        _, patch_positions = segment_positions(_opens(owners, owners))
        went = self.trunk.travel(self.down(self.pooling(encoded, where)), owners, patch_positions)
        said = [self.up(x) for x in (went.states, *(x for x, _ in went.early))]
        if cut.boundary_prob is not None:
            said = [self.patching.dechunk(states, where.at_ends(cut.boundary_prob), None) for states in said]
        early = [(states, weight) for states, (_, weight) in zip(said[1:], went.early, strict=True)]
        return TrunkOutput(said[0], where.answer - 1, early, went.losses, went.figures)

    def _cached_answers(self, encoded: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"], cut: Boundaries,
                        lengths: Int[Tensor, " batch"] | None, cache: Cache) -> TrunkOutput:
        """The same for rows that go on: a patch that ends now takes the bytes that were waiting for it."""
        (rows, seq), ends = segment_ids.shape, cut.ends
        if lengths is not None:
            ends = ends & (torch.arange(seq, device=ends.device) < lengths[:, None])
        encoded = torch.cat([cache.waiting, encoded], dim=1)
        segment_ids = torch.cat([cache.waiting_in, segment_ids], dim=1)
        if lengths is None and not ends.any():  # the usual case of writing: nothing to pool yet
            if self.pooling.needs_whole_patch:
                cache.waiting, cache.waiting_in = encoded, segment_ids
            return TrunkOutput(cache.answer[:, None], torch.zeros_like(segment_ids[:, -seq:]))
        waited = cache.waiting.shape[1]
        where = layout(F.pad(ends, (waited, 0)), segment_ids)
        if self.pooling.needs_whole_patch:
            whole = None if lengths is None else lengths + waited
            keep = int(where.waits.sum(dim=1).max())
            owners = segment_ids.masked_fill(~where.waits, NOTHING)
            cache.waiting = update_cache(None, encoded, keep, whole)
            cache.waiting_in = update_cache(None, owners, keep, whole, empty=NOTHING)
        answers = cache.answer[:, None]
        if where.n_patches > 0:
            counts = where.count if rows > 1 else None
            owners = where.at_ends(segment_ids).masked_fill(~where.exists, NOTHING)
            _, patch_positions = segment_positions(_opens(owners, cache.patch_place), cache.patch_place)
            new = self.up(self.trunk(self.down(self.pooling(encoded, where)), owners, patch_positions, cache.trunk, counts))
            if cut.boundary_prob is not None:
                new = self.patching.dechunk(new, where.at_ends(F.pad(cut.boundary_prob, (waited, 0))), cache.answer)
            answers = torch.cat([answers, new], dim=1)
            cache.patch_place = latest(torch.stack([owners, patch_positions], dim=2), counts, cache.patch_place)
            cache.answer = take(answers, where.count[:, None])[:, 0]
        return TrunkOutput(answers, where.answer[:, -seq:])


def _rows_of(memory: Any, rows: Int[Tensor, " n"]) -> Any:
    """Any memory made of tensors whose first dimension is the batch: of some of its rows."""
    if isinstance(memory, Tensor):
        return memory.index_select(0, rows)
    if isinstance(memory, (list, tuple)):
        return type(memory)(_rows_of(item, rows) for item in memory)
    if dataclasses.is_dataclass(memory) and not isinstance(memory, type):
        return dataclasses.replace(memory, **{field.name: _rows_of(getattr(memory, field.name), rows)
                                              for field in dataclasses.fields(memory)})
    return memory


def _copied(memory: Any) -> Any:
    if isinstance(memory, list):
        return [_copied(item) for item in memory]
    if dataclasses.is_dataclass(memory) and not isinstance(memory, type):
        return dataclasses.replace(memory, **{field.name: _copied(getattr(memory, field.name))
                                              for field in dataclasses.fields(memory)})
    return memory


def _opens(segment_ids: Int[Tensor, "batch patch"], before: Int[Tensor, "batch n"]) -> Bool[Tensor, "batch patch"]:
    """Where a patch belongs to another document than the one before it; ``before[:, 0]`` is the first one's forerunner."""
    return segment_ids != torch.cat([before[:, :1], segment_ids[:, :-1]], dim=1)
