"""Our models as scorers.

Many texts are read at once in two ways, and both are exact. Short texts are packed into rows one after the other, as in
training: no document attends to another, so hardly any padding is needed. Several texts with a long common beginning, such as
the choices of a question, are read in two passes: the beginning once, and then each rest with a copy of its cache.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from stlm.config.decode import encode
from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.evaluate.scorer import Likelihood, Pair, Progress, Scorer, nothing
from stlm.evaluate.windows import Found, Tally, Window, after, cut, n_common, ranked
from stlm.generate.sampling import Sampling
from stlm.generate.session import Session
from stlm.model.count import count
from stlm.model.lm import LM, Cache
from stlm.text.tokenizer import Tokenizer
from stlm.train.checkpoint import Checkpoint
from stlm.train.device import in_double

TOKENS = 16_384  # most tokens that are read at once
WIDTH = 1024  # tokens in a row of packed short texts: the trunk's attention costs more in longer rows
SCORES = 1 << 24  # most scores (tokens times vocab_size) at once: with a large vocabulary, batches are smaller
SHARED = 48  # smallest number of common first tokens for which two passes are faster


class NativeScorer(Scorer):
    """A model of ours. limit: the seq_len of its training."""

    def __init__(self, name: str, model: LM, tokenizer: Tokenizer, limit: int) -> None:
        self.name, self.model, self.tokenizer, self.limit = name, model.eval(), tokenizer, limit
        self.n_parameters = count(model).unique
        digest = hashlib.sha256(json.dumps([encode(model.config), [piece.hex() for piece in tokenizer.token_bytes]]).encode())
        for key, value in sorted(model.state_dict().items()):
            digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]
        self._room = max(limit, min(TOKENS, SCORES // tokenizer.vocab_size))
        self._filler = int(tokenizer.encode(b"a")[0])  # a token that ends no patch, so that padding costs little

    @classmethod
    def of(cls, name: str, checkpoint: Checkpoint, device: torch.device) -> NativeScorer:
        """The model of a checkpoint."""
        return cls(name, checkpoint.build_model().to(device), checkpoint.tokenizer, checkpoint.config.train.seq_len)

    def likelihoods(self, pairs: Sequence[Pair], progress: Progress = nothing) -> list[Likelihood]:
        windows = []
        for number, (context, text) in enumerate(pairs):
            before, both = context.encode("utf-8"), (context + text).encode("utf-8")
            windows += after(self._tokens(before), self._tokens(both), [self.tokenizer.bos], self.limit, number)
        return self._score(windows, len(pairs), progress)

    def log_p_of_documents(self, documents: Sequence[bytes], progress: Progress = nothing) -> list[float]:
        return self.log_p_of_tokens([self._tokens(document) for document in documents], progress)

    def log_p_of_tokens(self, documents: Sequence[np.ndarray], progress: Progress = nothing) -> list[float]:
        """The same for texts that are already tokens."""
        windows = [window for number, tokens in enumerate(documents)
                   for window in cut(tokens.astype(np.int64), 0, [self.tokenizer.bos], self.limit, number)]
        return [found.log_p for found in self._score(windows, len(documents), progress)]

    @torch.inference_mode()
    def features(self, texts: Sequence[str], layer: int | None, progress: Progress = nothing) -> list[list[float]]:
        trunk, active = self.model.trunk, self.model.trunk.active
        if layer is not None and not 1 <= layer <= active:
            raise UserError(f"--layer {layer}: this model's trunk has the layers 1 to {active}")
        found, kept = [], list[Tensor]()
        callback = self.model.backbone.from_trunk.register_forward_pre_hook(lambda module, given: kept.append(given[0]))
        trunk.active = layer or active  # so the output of the trunk is the output of that layer, for all kinds of blocks
        try:
            for text in texts:
                tokens = self._tokens(text.encode("utf-8"))[:self.limit - 1]
                kept.clear()
                rows = torch.tensor([[self.tokenizer.bos, *tokens.tolist()]], device=self.model.device)
                ends = self.model(Inputs(rows)).ends
                found.append(kept[0][0, :int(ends.sum())].float().mean(dim=0).tolist())
                progress(1)
        finally:
            callback.remove()
            trunk.active = active
        return found

    def write(self, prompts: Sequence[str], max_bytes: int, stops: Sequence[str], temperature: float, seed: int = 0
              ) -> list[str]:
        session = Session(self.model, self.tokenizer, Sampling(temperature=temperature))
        session.prefill([prompt.encode("utf-8") for prompt in prompts], max_bytes, range(seed, seed + len(prompts)),
                        [stop.encode("utf-8") for stop in stops])
        while not session.done:
            session.step()
        return [text.written.decode("utf-8", errors="ignore") for text in session.texts]

    def _tokens(self, text: bytes) -> np.ndarray:
        return self.tokenizer.encode(text).astype(np.int64)

    # --- windows

    @torch.inference_mode()
    def _score(self, windows: list[Window], texts: int, progress: Progress) -> list[Likelihood]:
        tally = Tally(windows, texts)
        alone, families = _families(windows, self._room)
        for batch in itertools.chain(self._packed(alone), self._shared(families)):
            for window, found in batch:
                tally.add(window, found)
            progress(tally.done())
        return tally.found()

    def _read(self, rows: Tensor, cache: Cache | None = None, lengths: Tensor | None = None) -> Tensor:
        device = self.model.device
        lengths = None if lengths is None else lengths.to(device)
        return self.model(Inputs(rows.to(device), lengths=lengths), cache).logits

    def _packed(self, windows: list[Window]) -> Iterator[list[tuple[Window, Found]]]:
        """Read windows packed into rows one after the other, the longest first."""
        waiting = sorted(windows, key=len, reverse=True)
        while waiting:
            width = max(len(waiting[0]) - 1, min(self.limit, self._room, WIDTH))
            rows, placed, end = max(1, self._room // width), list[tuple[Window, int]](), 0
            for window in waiting:
                size = len(window) - 1
                if end % width + size > width:  # it doesn't fit into the rest of the row
                    end += width - end % width
                if end + size > rows * width:
                    break
                placed.append((window, end))
                end += size
            waiting = waiting[len(placed):]
            tokens = np.full((max(1, -(-end // width)), width), self._filler, dtype=np.int64)
            for window, start in placed:
                tokens.reshape(-1)[start:start + len(window) - 1] = window.tokens[:-1]
            yield self._at(placed, self._read(torch.from_numpy(tokens)).flatten(0, 1))

    def _at(self, placed: list[tuple[Window, int]], logits: Tensor) -> list[tuple[Window, Found]]:
        """The figures of each window's scored tokens. placed: windows and the index in ``logits`` of each window's first token.
        """
        positions = np.concatenate([start + np.arange(w.first - 1, len(w) - 1) for w, start in placed])
        targets = np.concatenate([w.tokens[w.first:] for w, _ in placed])
        at = torch.from_numpy(positions).to(logits.device)
        scores = _scores(logits[at], torch.from_numpy(targets).to(logits.device))
        ends = np.cumsum([len(w) - w.first for w, _ in placed])
        out = []
        for (window, _), end in zip(placed, ends, strict=True):
            out.append((window, _found(scores, slice(end - (len(window) - window.first), end))))
        return out

    def _shared(self, families: list[tuple[int, list[Window]]]) -> Iterator[list[tuple[Window, Found]]]:
        """Read the common beginning of each family once, and then the rest of each window."""
        def tokens(family: tuple[int, list[Window]]) -> int:
            """Tokens that a family needs, in the pass over the common beginning or in the pass over the rest."""
            shared, members = family
            return max(shared, len(members) * max(len(member) - shared for member in members))

        waiting = sorted(families, key=tokens, reverse=True)
        while waiting:
            rows = max(1, self._room // tokens(waiting[0]))
            batch, waiting = waiting[:rows], waiting[rows:]
            yield self._family_batch(batch)

    def _family_batch(self, batch: list[tuple[int, list[Window]]]) -> list[tuple[Window, Found]]:
        lengths = torch.tensor([shared for shared, _ in batch])
        rows = torch.full((len(batch), int(lengths.max())), self._filler)
        for row, (shared, family) in enumerate(batch):
            rows[row, :shared] = torch.from_numpy(family[0].tokens[:shared])
        cache = self.model.new_cache(len(batch))
        before = self._read(rows, cache, lengths)
        owner = [row for row, (_, family) in enumerate(batch) for _ in family]
        members = [window for _, family in batch for window in family]
        # the last token of each window is only predicted, and the common beginning has been read already
        rest = [window.tokens[batch[row][0]:-1] for row, window in zip(owner, members, strict=True)]
        sizes = torch.tensor([len(tokens) for tokens in rest])
        after = before.new_zeros(len(rest), 0, before.shape[-1])
        if int(sizes.max()) > 0:
            more = torch.full((len(rest), int(sizes.max())), self._filler)
            for row, tokens in enumerate(rest):
                more[row, :len(tokens)] = torch.from_numpy(tokens)
            after = self._read(more, cache.select(torch.tensor(owner, device=self.model.device)), sizes)
        out = []
        for number, (row, window) in enumerate(zip(owner, members, strict=True)):
            shared = batch[row][0]
            logits = torch.cat([before[row, window.first - 1:shared],
                                after[number, max(0, window.first - 1 - shared):len(window) - 1 - shared]])
            target = torch.from_numpy(window.tokens[window.first:]).to(before.device)
            out.append((window, _found(_scores(logits, target), slice(None))))
        return out


def _scores(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The log-probability of each target in float64, whether all other scores are lower, and whether none is higher."""
    logits = in_double(logits)
    own, greedy, level = ranked(logits, targets.to(logits.device))
    return (own - logits.logsumexp(-1)).cpu(), greedy.cpu(), level.cpu()


def _found(scores: tuple[Tensor, Tensor, Tensor], part: slice) -> Found:
    log_p, greedy, level = (each[part] for each in scores)
    return Found(float(log_p.sum()), bool(greedy.all()), bool(level.all()))


def _families(windows: list[Window], room: int) -> tuple[list[Window], list[tuple[int, list[Window]]]]:
    """Windows to read alone, and families of windows with a common beginning, each with the number of common tokens. The rests
    of a family have ``room`` tokens at most.

    Only neighbours form a family, because the choices of a question follow each other. If a window has many more tokens in
    common with the next window than with the family, it begins a new family: it is the first choice of another question, whose
    choices have to stay together.
    """
    alike = [n_common(one.tokens, other.tokens) for one, other in itertools.pairwise(windows)] + [0]
    alone, families, first = list[Window](), list[tuple[int, list[Window]]](), 0
    while first < len(windows):
        end, shared, longest = first + 1, len(windows[first]) - 1, len(windows[first])
        while end < len(windows):
            common, longest = min(shared, alike[end - 1], len(windows[end]) - 1), max(longest, len(windows[end]))
            lost = (end - 1 - first) * (shared - common)  # tokens that the family's windows would then read separately
            if (common < SHARED or common <= lost or alike[end] >= common + SHARED
                    or (end + 1 - first) * (longest - common) > room):
                break
            end, shared = end + 1, common
        group = windows[first:end]
        if len(group) == 1:
            alone += group
        else:
            families.append((shared, group))
        first = end
    return alone, families
