"""Any causal language model of Hugging Face as a scorer: ``hf:NAME``, from the hub or a folder.

Contexts and texts are encoded and cut in the same way as by lm-evaluation-harness 0.4.13, so that the answers agree.
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
from stlm.evaluate.windows import Found, Tally, Window, cut, ranked
from stlm.train.machine import pick_device

TOKENS = 8192  # most tokens that are read at once
SCORES = 1 << 25  # most scores (tokens times vocab_size) at once
LONGEST = 4096  # most tokens of a window, also for models that could read more: the scores have to fit into memory


class HuggingFaceScorer(Scorer):
    """A model and its tokenizer. limit: the number of positions of the model, `LONGEST` at most."""

    def __init__(self, name: str, model: Any, tokenizer: Any) -> None:
        self.name, self.model, self.tokenizer = name, model.eval().to(pick_device()), tokenizer
        self.limit = min(LONGEST, int(getattr(model.config, "max_position_embeddings", None) or LONGEST))
        self.n_parameters = sum(parameter.numel() for parameter in model.parameters())
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if first is None:
            raise UserError(f"hf:{name}: its tokenizer has no token that opens a document (bos or eos), so the first token "
                            "of a text has no likelihood")
        self._opening = [int(first)]
        backend = getattr(tokenizer, "backend_tokenizer", None)
        reads = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
        digest = hashlib.sha256(f"{model.config.to_json_string()}{reads}{first}".encode())
        for key, value in sorted(model.state_dict().items()):
            digest.update(key.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    @classmethod
    def load(cls, name: str) -> HuggingFaceScorer:
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
        return cls(name, model, tokenizer)

    def likelihoods(self, pairs: Sequence[Pair], progress: Progress = nothing) -> list[Likelihood]:
        windows = []
        for number, (context, text) in enumerate(pairs):
            kept = context.rstrip() if context else ""
            text, context = context[len(kept):] + text, kept  # the space belongs to the text: tokenizers join them
            if context:  # the tokenizer adds its own opening token
                whole, first, opening = self._tokens(context + text, None), len(self._tokens(context, None)), list[int]()
            else:
                whole, first, opening = self._tokens(text), 0, self._opening
            windows += cut(whole, min(first, len(whole)), opening, self.limit + 1, number)
        return self._score(windows, len(pairs), progress)

    def log_p_of_documents(self, documents: Sequence[bytes], progress: Progress = nothing) -> list[float]:
        windows = []
        for number, document in enumerate(documents):
            try:
                text = document.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"hf:{self.name}: a text isn't UTF-8 (byte {error.start}), and its tokenizer reads only "
                                "UTF-8") from None
            tokens = self._tokens(text)
            if self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False).strip() != text.strip():
                raise UserError(f"hf:{self.name}: its tokenizer changes the text, so bits per byte would be of another text")
            windows += cut(tokens, 0, self._opening, self.limit + 1, number)
        return [found.log_p for found in self._score(windows, len(documents), progress)]

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

    @torch.inference_mode()
    def write(self, prompts: Sequence[str], max_bytes: int, stops: Sequence[str], temperature: float, seed: int = 0
              ) -> list[str]:
        out = []
        for number, prompt in enumerate(prompts):
            torch.manual_seed(seed + number)
            given = torch.tensor([[*self._opening, *self._tokens(prompt).tolist()]], device=self.model.device)
            how: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {
                "do_sample": False}
            # a token has at least one byte
            room = min(max_bytes, max(1, self.limit - given.shape[1]))
            whole = self.model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=room,
                                        pad_token_id=self._opening[0], **how)
            text = self.tokenizer.decode(whole[0, given.shape[1]:], skip_special_tokens=True)
            out.append(cut_at(text.encode("utf-8")[:max_bytes].decode("utf-8", errors="ignore"), stops))
        return out

    def _tokens(self, text: str, specials: bool | None = False) -> np.ndarray:
        how = {} if specials is None else {"add_special_tokens": specials}
        return np.array(self.tokenizer.encode(text, **how), dtype=np.int64)

    @torch.inference_mode()
    def _score(self, windows: list[Window], texts: int, progress: Progress) -> list[Likelihood]:
        """Score windows. Padding is on the right, where a causal model ignores it. Windows with the same inputs are read once.
        """
        tally, same = Tally(windows, texts), dict[bytes, list[Window]]()
        for window in windows:
            same.setdefault(window.tokens[:-1].tobytes(), []).append(window)
        waiting = sorted(same.values(), key=lambda group: len(group[0]), reverse=True)
        most = min(TOKENS, SCORES // self.model.config.vocab_size)
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
                    tally.add(window, Found(float(own.double().sum()), bool(greedy.all()), bool(level.all())))
            progress(tally.done())
        return tally.found()
