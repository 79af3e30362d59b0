"""What a model makes of one text, symbol by symbol: how surprised it is, and where its patches end."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch.nn import functional as F

from stlm.data.batch import Inputs
from stlm.model.lm import LM
from stlm.text.codec import Codec


@dataclasses.dataclass(frozen=True)
class Reading:
    """pieces: the bytes of each symbol; bits: the surprisal of each; ends: whether a patch ends with it."""

    pieces: list[bytes]
    bits: list[float]
    ends: list[bool]


@torch.no_grad()
def read(model: LM, codec: Codec, text: bytes) -> Reading:
    """Read one text as a document of its own, all at once."""
    symbols = torch.tensor([[codec.document, *codec.encode(text).tolist()]], device=model.device)
    output = model(Inputs(symbols))
    nats = output.scores.surprisal(F.pad(symbols[:, 1:], (0, 1)))[0, :-1]
    following = symbols[0, 1:].tolist()
    return Reading([codec.symbol_bytes[symbol] for symbol in following], (nats / math.log(2)).tolist(),
                   output.ends[0, 1:].tolist())
