"""Prediction of the next thought: the latent state of the next sentence, from where a sentence ends (a research
project of arXiv 2405.14159; the method is contrastive prediction, van den Oord et al. 2018, arXiv 1807.03748).

A sentence's thought is the mean of what its bytes read of the trunk. Its first bytes may still read what was there at the end
of the sentence before; they don't count, because the prediction starts from just that. From the state at the end of a sentence
a small network predicts the next thought, and has to tell it from the other sentences of the row. That keeps thoughts from
collapsing to one. What is logged: ``thought/accuracy``, how often it is told right, and ``thought/cosine``, which rises to 1 if
they collapse.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from stlm.config.bounds import Positive, Weight
from stlm.data.batch import Batch
from stlm.model.layout import means, segment_positions, take
from stlm.model.lm import LM
from stlm.model.loss import Loss, figure
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.nn.norm import rms_norm
from stlm.objective.added import Added, AddedConfig, per_row
from stlm.objective.patches import Predictor, followed, mean_of_row, of_several, spread, trunk_width
from stlm.text.tokenizer import Tokenizer

QUOTES = b"\"')]"  # may stand between the mark that closes a sentence and the space
SHORTEST = 8  # tokens for each sentence, on average; a row has room for so many, and further ones aren't predicted


@dataclasses.dataclass(frozen=True)
class Config(AddedConfig):
    """Plus the cross-entropy of the next sentence among the sentences of a row."""

    weight: Weight = 0.1
    """Weight of the term at the start."""
    temperature: Positive = 0.1
    """Cosines are divided by this before they become scores."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> NextThought:
        return NextThought(self, tokenizer, model)


class NextThought(Added):
    closes: Tensor
    quote: Tensor
    space: Tensor
    word: Tensor

    def __init__(self, config: Config, tokenizer: Tokenizer, model: ModelConfig) -> None:
        super().__init__(config, tokenizer, model)
        self.temperature, self.predictor = config.temperature, Predictor(trunk_width(tokenizer, model))
        data = tokenizer.token_bytes
        for name, found in (("closes", [each.rstrip(QUOTES)[-1:] in (b".", b"!", b"?") for each in data]),
                            ("quote", [token == tokenizer.mark or (bool(each) and not each.rstrip(QUOTES))
                                       for token, each in enumerate(data)]),
                            ("space", [each.isspace() for each in data]),
                            ("word", [each[:1].isspace() and not each.isspace() for each in data])):
            self.register_buffer(name, torch.tensor(found), persistent=False)

    def term(self, model: LM, output: Output, batch: Batch) -> Loss:
        tokens = batch.inputs
        segment_ids, _ = segment_positions(tokens == model.bos)
        ends = self.ends(tokens, segment_ids) & batch.counted
        room = max(2, tokens.shape[1] // SHORTEST)
        number = (ends.long().cumsum(dim=1) - ends.long()).clamp(max=room)  # of the sentence of each token
        index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        last = torch.zeros_like(number[:, :1]).expand(-1, room + 1).scatter(1, torch.where(ends, number, room), index)[:, :room]
        owner = segment_ids.gather(1, last)
        read, patch = output.trunk.per_token(), output.trunk.patch_index
        known = F.pad(patch.gather(1, last), (1, 0), value=-1).gather(1, number)  # the patch that was read before the sentence
        own = torch.where(patch > known, number, room)
        thoughts = rms_norm(means(read, own, room))
        size = torch.zeros_like(F.pad(last, (0, 1))).scatter_add(1, own, torch.ones_like(own))[:, :room]
        there = (torch.arange(room, device=tokens.device) < ends.sum(dim=1, keepdim=True)) & (size > 0)
        asked = followed(there, owner) & batch.unchanged[:, None]
        predicted = self.predictor(rms_norm(take(read, last)))
        scores = (predicted @ thoughts.detach().mT).float() / (thoughts.shape[2] * self.temperature)
        scores = scores.masked_fill(~there[:, None], torch.finfo(scores.dtype).min)
        goal = torch.arange(1, room + 1, device=tokens.device).clamp(max=room - 1).expand_as(last)
        nats = F.cross_entropy(scores.mT, goal, reduction="none")
        right = ((scores.argmax(dim=2) == goal) & asked).sum()
        return per_row(mean_of_row(nats, asked), batch, "thought", asked.any(dim=1), accuracy=figure(right, asked.sum()),
                       cosine=of_several(spread(thoughts, there)[1], there))

    def ends(self, tokens: Tensor, segment_ids: Tensor) -> Tensor:
        """Where a sentence is over: at the space after a mark that closes it, or before it where a token has the space and the
        next word; and at the end of a document.
        """
        index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        last = torch.where(self.quote[tokens], 0, index).cummax(dim=1).values  # the last token that is no quotation mark
        closed, new = self.closes[tokens].gather(1, last), segment_ids[:, 1:] != segment_ids[:, :-1]
        found = F.pad(new, (0, 1))
        found[:, 1:] |= closed[:, :-1] & self.space[tokens[:, 1:]] & ~new
        found[:, :-1] |= closed[:, :-1] & self.word[tokens[:, 1:]]
        return found
