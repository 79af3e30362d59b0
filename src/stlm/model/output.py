"""The output of a model."""

from __future__ import annotations

import dataclasses
import functools

from jaxtyping import Bool, Float
from torch import Tensor

from stlm.data.batch import Batch
from stlm.model.backbone import TrunkOutput
from stlm.model.loss import Loss, Metrics, figure
from stlm.model.scores import Scores


@dataclasses.dataclass(frozen=True)
class Output:
    """scores: for each input, the scores of the next token; hidden: the vectors that the head read; ends: where patches end;
    exits: in training, the scores of an earlier layer, with the weight of their loss; trunk: the trunk's outputs; aux_losses:
    losses of the model's parts, by name, one for each row; metrics: further figures of each row, by name.
    """

    scores: Scores
    hidden: Float[Tensor, "batch seq dim"]
    ends: Bool[Tensor, "batch seq"]
    trunk: TrunkOutput
    exits: list[tuple[Scores, float]] = dataclasses.field(default_factory=list)
    aux_losses: dict[str, Float[Tensor, " batch"]] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Float[Tensor, " batch"]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def logits(self) -> Float[Tensor, "batch seq token"]:
        """The scores of all tokens. ``scores.surprisal`` is cheaper if only the target's score is needed."""
        return self.scores.logits()

    def auxiliary_loss(self, batch: Batch) -> Loss:
        """The losses of the model's parts (early exits, ratio losses, routers), over the batch's weights. Every objective adds
        them. A row's loss counts as often as the row has targets, so it doesn't matter how rows are split into batches.
        """
        counts = batch.weights.sum(dim=1)
        metrics: Metrics = {}
        total = counts.new_zeros(())
        for scores, weight in self.exits:
            total = total + weight * (scores.surprisal(batch.targets) * batch.weights).sum()
        for name, loss in self.aux_losses.items():
            total = total + (loss * counts.to(loss.dtype)).sum()
            metrics[f"loss/{name}"] = figure(loss)
        return Loss(total, counts.sum(), metrics | {name: figure(value) for name, value in self.metrics.items()})
