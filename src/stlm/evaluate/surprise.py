"""How a model reads one text, token by token: the surprisal of each token, and where patches end."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch.nn import functional as F

from stlm.data.batch import Inputs
from stlm.model.lm import LM
from stlm.model.scores import check_finite
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Reading:
    """pieces: the bytes of each token. bits: the surprisal of each token. ends: whether a patch ends with it."""

    pieces: list[bytes]
    bits: list[float]
    ends: list[bool]


@torch.no_grad()
def read(model: LM, tokenizer: Tokenizer, text: bytes) -> Reading:
    """Read one text as a document of its own, all at once."""
    tokens = torch.tensor([[tokenizer.bos, *tokenizer.encode(text).tolist()]], device=model.device)
    output = model(Inputs(tokens))
    nats = check_finite(output.scores.surprisal(F.pad(tokens[:, 1:], (0, 1))))[0, :-1]
    following = tokens[0, 1:].tolist()
    return Reading([tokenizer.token_bytes[token] for token in following], (nats / math.log(2)).tolist(),
                   output.ends[0, 1:].tolist())
