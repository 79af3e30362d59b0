"""What comes out of a model."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Output:
    """logits: for each input, scores of the symbol that follows; hidden: what they were read from;
    aux: further losses and figures that a part of the model reports, by name.
    """

    logits: Float[Tensor, "batch seq symbol"]
    hidden: Float[Tensor, "batch seq dim"]
    aux: dict[str, Tensor] = dataclasses.field(default_factory=dict)
