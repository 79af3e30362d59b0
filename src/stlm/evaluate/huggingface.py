"""Any causal language model of Hugging Face as a scorer: ``hf:NAME``, from the hub or a folder.

Contexts and texts are encoded and cut in the same way as by lm-evaluation-harness 0.4.13, so that the answers agree. Three
things differ. Text that spells a special token is read as text. A token that a tokenizer puts after a text is no part of the
text. Where a tokenizer joins the end of a context with what follows, the joint token is scored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from stlm.errors import UserError
from stlm.evaluate.scorer import Likelihood, Pair, Progress, Scorer, cut_at, nothing
from stlm.evaluate.windows import Found, Tally, Window, cut, n_common, ranked
from stlm.train.device import in_double, pick_device

TOKENS = 8192  # most tokens that are read at once
SCORES = 1 << 25  # most scores (tokens times vocab_size) at once
LONGEST = 4096  # most tokens of a window, also for models that could read more: the scores have to fit into memory


class HuggingFaceScorer(Scorer):
    """A model and its tokenizer. device: as in `pick_device`. limit: the model's number of positions, `LONGEST` at most."""

    def __init__(self, name: str, model: Any, tokenizer: Any, device: str = "auto") -> None:
        self.name, self.model, self.tokenizer = name, model.eval().to(pick_device(device)), tokenizer
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.limit = min(LONGEST, int(positions or LONGEST), int(tokenizer.model_max_length))
        self.n_parameters = sum(parameter.numel() for parameter in model.parameters())
        # what its repository recommends for sampling doesn't count
        model.generation_config = type(model.generation_config)(eos_token_id=model.generation_config.eos_token_id)
        self._vocab_size = model.get_input_embeddings().weight.shape[0]
        self._special = set(tokenizer.all_special_ids)
        self._front = self._put_before()
        opening = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None]
        self._opening = self._front or opening[:1]
        if not self._opening:
            raise UserError(f"hf:{name}: its tokenizer has no token that opens a document (bos or eos), so the first token "
                            "of a text has no likelihood")
        backend = getattr(tokenizer, "backend_tokenizer", None)
        reads = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
        digest = hashlib.sha256(f"{model.config.to_json_string()}{reads}{self._opening}".encode())
        for key, value in sorted(model.state_dict().items()):
            digest.update(key.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]
        self._check_causal()

    @classmethod
    def load(cls, name: str, device: str = "auto") -> HuggingFaceScorer:
        """Load from the hub or a folder. Weights have to be safetensors, and no code of the model's repository is run."""
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ModuleNotFoundError:
            raise UserError("hf: needs transformers; pip install 'stlm[hf]'") from None
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            model = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
        except Exception as error:  # repositories and the network raise many types of errors
            message = str(error).strip().splitlines()
            raise UserError(f"hf:{name}: cannot be loaded ({message[0] if message else type(error).__name__}); give the name "
                            "of a causal language model on the hub, or a folder with config.json, model.safetensors and a "
                            "tokenizer") from None
        return cls(name, model, tokenizer, device)

    def likelihoods(self, pairs: Sequence[Pair], progress: Progress = nothing) -> list[Likelihood]:
        windows = []
        for number, (context, text) in enumerate(pairs):
            kept = context.rstrip()
            text, context = context[len(kept):] + text, kept  # the space belongs to the text: tokenizers join them
            front = np.array(self._front if context else [], dtype=np.int64)
            before, whole = (np.concatenate([front, self._tokens(part)]) for part in (context, context + text))
            first = n_common(before, whole)
            windows += cut(whole, first, [] if first else self._opening, self.limit + 1, number)
        return self._score(windows, len(pairs), progress)

    def log_p_of_documents(self, documents: Sequence[bytes], progress: Progress = nothing) -> list[float]:
        windows = [window for number, document in enumerate(documents)
                   for window in cut(self._tokens(self._text_of(document)), 0, self._opening, self.limit + 1, number)]
        return [found.log_p for found in self._score(windows, len(documents), progress)]

    def scored_text(self, document: bytes) -> bytes:
        text = self._text_of(document)
        tokens = self._tokens(text).tolist()
        spelled = self._spelled(self._tokens("a").tolist(), tokens)  # a tokenizer may hide a space that it puts first
        if self._special & set(tokens) or spelled not in (text, f" {text}"):
            raise UserError(f"hf:{self.name}: its tokenizer changes the text, so bits per byte would be of another text")
        return spelled.encode("utf-8")

    @torch.inference_mode()
    def features(self, texts: Sequence[str], layer: int | None, progress: Progress = nothing) -> list[list[float]]:
        out = []
        for text in texts:
            tokens = [*self._opening, *self._tokens(text).tolist()][:self.limit]
            layers = self.model(torch.tensor([tokens], device=self.model.device), output_hidden_states=True).hidden_states
            if layer is not None and not 1 <= layer < len(layers):
                raise UserError(f"--layer {layer}: this model has the layers 1 to {len(layers) - 1}")
            out.append(layers[layer or -1][0].float().mean(dim=0).tolist())
            progress(1)
        return out

    def write(self, prompts: Sequence[str], max_bytes: int, stops: Sequence[str], temperature: float, seed: int = 0
              ) -> list[str]:
        out = []
        for number, prompt in enumerate(prompts):
            torch.manual_seed(seed + number)
            text = self._continued([*self._opening, *self._tokens(prompt).tolist()], max_bytes, temperature)
            out.append(cut_at(text.encode("utf-8")[:max_bytes].decode("utf-8", errors="ignore"), stops))
        return out

    @torch.inference_mode()
    def _check_causal(self) -> None:
        """UserError if the scores of a token depend on a later token."""
        first = self._opening[0]
        rows = torch.tensor([[first, first], [first, (first + 1) % self._vocab_size]], device=self.model.device)
        one, other = self.model(rows).logits[:, 0]
        if (one - other).abs().max() > 1e-5 * (one.max() - one.min()):
            raise UserError(f"hf:{self.name}: it isn't causal: its scores of a token depend on later tokens, so they are no "
                            "likelihoods")

    @torch.inference_mode()
    def _continued(self, before: list[int], max_bytes: int, temperature: float) -> str:
        """New text after these tokens. Where they fill all positions of the model, it reads on from the last half of them."""
        new, ended = list[int](), False
        how: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {
            "do_sample": False}
        while not ended and len(new) < max_bytes:  # a token has at least one byte
            seen = [*before, *new]
            seen = seen if len(seen) < self.limit else seen[-max(1, self.limit // 2):]
            given = torch.tensor([seen], device=self.model.device)
            room = min(max_bytes - len(new), max(1, self.limit - len(seen)))
            whole = self.model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=room,
                                        pad_token_id=self._opening[0], **how)[0].tolist()
            new += whole[len(seen):]
            ended = len(whole) - len(seen) < room
        return self._spelled(before, [token for token in new if token not in self._special])

    def _text_of(self, document: bytes) -> str:
        try:
            return document.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"hf:{self.name}: a text isn't UTF-8 (byte {error.start}), and its tokenizer reads only UTF-8"
                            ) from None

    def _tokens(self, text: str) -> np.ndarray:
        """The tokens of a text, and nothing else. What spells a special token is text too."""
        tokens = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        for token in (self._special - {self.tokenizer.unk_token_id}).intersection(tokens):
            raise UserError(f"hf:{self.name}: its tokenizer can't read {self.tokenizer.convert_ids_to_tokens(token)!r} as "
                            "text, because that spells a special token")
        if max(tokens, default=0) >= self._vocab_size:
            raise UserError(f"hf:{self.name}: its tokenizer makes the token {max(tokens)}, but the model knows only "
                            f"{self._vocab_size}")
        return np.array(tokens, dtype=np.int64)

    def _put_before(self) -> list[int]:
        """The special tokens that the tokenizer puts before a text by itself."""
        plain, whole = self._tokens("a").tolist(), self.tokenizer.encode("a")
        return whole[:next((n for n in range(len(whole)) if whole[n:n + len(plain)] == plain), 0)]

    def _spelled(self, before: list[int], tokens: list[int]) -> str:
        """The text that these tokens add to those before them."""
        start, whole = (self.tokenizer.decode(part, clean_up_tokenization_spaces=False) for part in (before, before + tokens))
        return whole[len(start):] if whole.startswith(start) else self.tokenizer.decode(tokens)

    @torch.inference_mode()
    def _score(self, windows: list[Window], texts: int, progress: Progress) -> list[Likelihood]:
        """Score windows. Padding is on the right, where a causal model ignores it. Windows with the same inputs are read once.
        """
        tally, same = Tally(windows, texts), dict[bytes, list[Window]]()
        for window in windows:
            same.setdefault(window.tokens[:-1].tobytes(), []).append(window)
        waiting = sorted(same.values(), key=lambda group: len(group[0]), reverse=True)
        most = min(TOKENS, SCORES // self._vocab_size)
        while waiting:
            width = max(1, len(waiting[0][0]) - 1)
            batch = waiting[:max(1, most // width)]
            waiting = waiting[len(batch):]
            rows = np.full((len(batch), width), self._opening[0], dtype=np.int64)
            for row, group in enumerate(batch):
                rows[row, :len(group[0]) - 1] = group[0].tokens[:-1]
            read = torch.from_numpy(rows).to(self.model.device)
            sizes = torch.tensor([len(group[0]) - 1 for group in batch], device=read.device)
            mask = (torch.arange(width, device=read.device) < sizes[:, None]).long()
            logits = self.model(read, attention_mask=mask).logits
            for row, group in enumerate(batch):
                for window in group:
                    scores = logits[row, window.first - 1:len(window) - 1].float().log_softmax(-1)
                    targets = torch.from_numpy(window.tokens[window.first:]).to(read.device)
                    own, greedy, level = ranked(scores, targets)
                    tally.add(window, Found(float(in_double(own).sum()), bool(greedy.all()), bool(level.all())))
            progress(tally.done())
        return tally.found()
