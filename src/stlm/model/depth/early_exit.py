"""Earlier layers also learn to predict, so that a patch may exit early (LayerSkip, Elhoushi et al. 2024, arXiv 2404.16710,
sections 4.1 and 4.2).

In each training step one earlier layer is drawn at random. The decoder and the head also predict from its output, and that loss
is added. Layers are skipped at random, the last layer most often. After training this saves time in two ways. A patch can exit
early once a layer hardly changes it (Schuster et al. 2022, arXiv 2207.07061). Or the first layers draft and all layers verify
(`generate/speculate.py`), which doesn't change the generated text.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from stlm.config.bounds import Count, Share, ShareBelowOne, Weight
from stlm.model.depth import DepthConfig
from stlm.nn.stack import Block, Hashes, RowMask, Stack, StackCache, StackOutput


@dataclasses.dataclass(frozen=True)
class Config(DepthConfig):
    """Earlier layers also learn to predict, so that a patch can skip the remaining layers."""

    weight: Weight = 0.3
    """Weight of the loss of earlier layers. The last of them gets this weight, those before it less."""
    exit_layers: tuple[Count, ...] = ()
    """Earlier layers that learn to predict, counted from 1. None: all. To draft (--speculate), a single layer is best."""
    dropout: ShareBelowOne = 0.1
    """How often training skips the last layer. Earlier layers are skipped less often, the first never."""
    exit_threshold: Share = 0.0
    """After training: skip the remaining layers once a layer hardly changes a patch (similarity 0 to 1; 0: never)."""

    def check(self, model: Any) -> None:
        if model.layers < 2:
            raise ValueError("depth = early_exit needs 2 layers or more")
        if any(not 1 <= layer < model.layers for layer in self.exit_layers):
            raise ValueError(f"exit_layers = {list(self.exit_layers)}: each has to be between 1 and {model.layers - 1}")

    def build(self, blocks: Sequence[Block], dim: int) -> Stack:
        return EarlyExit(blocks, self)


class EarlyExit(Stack):
    leaves_out = True

    def __init__(self, blocks: Sequence[Block], config: Config) -> None:
        super().__init__(blocks)
        self.weight, self.dropout = config.weight, config.dropout
        self.exit_layers, self.exit_threshold = sorted(config.exit_layers), config.exit_threshold

    def forward(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], cache: StackCache | None = None,
                lengths: Int[Tensor, " batch"] | None = None, bidirectional: RowMask = None,
                hashes: Hashes = None) -> StackOutput:
        if self.training:
            return self._train(x, segment_ids, positions, bidirectional)
        if not self.exit_threshold:
            return super().forward(x, segment_ids, positions, cache, lengths, bidirectional)
        return self._exit_early(x, segment_ids, positions, cache, lengths, bidirectional)

    def _train(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
               positions: Int[Tensor, "batch seq"], bidirectional: RowMask) -> StackOutput:
        """Skip layers at random, and return the output of one earlier layer too."""
        context, exits = self._context(x, segment_ids, positions, None, bidirectional), list[tuple[Tensor, float]]()
        drawn = torch.rand(self.active + 1).tolist()  # on the CPU, like other random numbers of a run
        candidates = self.exit_layers or range(1, max(2, self.active))
        choice = int(drawn[-1] * len(candidates))
        for number in range(1, self.active + 1):
            if drawn[number - 1] >= self._skip_prob(number):
                x, _ = self._run_layer(number - 1, x, context, None, None)
            if number == candidates[choice] and number < self.active and self.weight > 0:
                exits.append((x, self.weight * (choice + 1) / len(candidates)))
        return StackOutput(x, exits)

    def _exit_early(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
               positions: Int[Tensor, "batch seq"], cache: StackCache | None, lengths: Int[Tensor, " batch"] | None,
               bidirectional: RowMask) -> StackOutput:
        """A patch that has exited keeps its value in the remaining layers, and later patches see this value."""
        context, threshold = self._context(x, segment_ids, positions, cache, bidirectional), self.exit_threshold or 0.0
        exited = torch.zeros_like(segment_ids, dtype=torch.bool)
        for depth in range(self.active):
            if cache is not None and exited.all():  # here early exits save work
                self._skip_layer(depth, x, context, cache, lengths)
                continue
            before, (x, _) = x, self._run_layer(depth, x, context, cache, lengths)
            x = torch.where(exited[..., None], before, x)
            exited = exited | (F.cosine_similarity(x, before, dim=-1) >= threshold)
        self._advance(segment_ids, cache, lengths)
        return StackOutput(x)

    def _skip_prob(self, number: int) -> float:
        """The probability that training skips layer ``number``, counted from 1."""
        return self.dropout * (math.exp((number - 1) * math.log(2) / max(1, self.active - 1)) - 1)
