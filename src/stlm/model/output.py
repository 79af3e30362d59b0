"""What comes out of a model."""

from __future__ import annotations

import dataclasses

from jaxtyping import Bool, Float
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Output:
    """logits: for each input, scores of the symbol that follows; hidden: what they were read from; ends: where patches
    ended; ahead: in training, scores of the symbols after the next one, where the head has them; early: in training, scores as
    a layer on the way would have them, and how much a loss of them counts; losses: what parts of the model add to the loss, by
    name; figures: what else is worth knowing of them in training, by name.
    """

    logits: Float[Tensor, "batch seq symbol"]
    hidden: Float[Tensor, "batch seq dim"]
    ends: Bool[Tensor, "batch seq"]
    ahead: Float[Tensor, "batch seq n symbol"] | None = None
    early: list[tuple[Float[Tensor, "batch seq symbol"], float]] = dataclasses.field(default_factory=list)
    losses: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    figures: dict[str, Tensor] = dataclasses.field(default_factory=dict)
