"""What comes out of a model."""

from __future__ import annotations

import dataclasses
import functools

from jaxtyping import Bool, Float
from torch import Tensor

from stlm.model.scores import Scores


@dataclasses.dataclass(frozen=True)
class Output:
    """scores: for each input, of the token that follows; hidden: what they were read from; ends: where patches
    ended; ahead: in training, scores of the tokens after the next one, where the head has them; early: in training, scores as
    a layer on the way would have them, and how much a loss of them counts; losses: what parts of the model add to the loss, by
    name; figures: what else is worth knowing of them in training, by name.
    """

    scores: Scores
    hidden: Float[Tensor, "batch seq dim"]
    ends: Bool[Tensor, "batch seq"]
    ahead: Float[Tensor, "batch seq n token"] | None = None
    early: list[tuple[Scores, float]] = dataclasses.field(default_factory=list)
    losses: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    figures: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def logits(self) -> Float[Tensor, "batch seq token"]:
        """The scores of all tokens. Where only a target's matter, ``scores.surprisal`` is cheaper."""
        return self.scores.logits()
