"""All layers process all patches, and more is added to the residual stream between them, or to the values of attention.

Scalars: before each layer the stream is ``a x + b x0``, where x0 is the trunk's input (GPT-2 speed runs, 2024). U-Net skips:
the output of each layer of the first half is added before its mirrored layer of the second half (Ronneberger et al. 2015, arXiv
1505.04597; for language models in the speed runs of 2024). N-grams: a hashed row for the last tokens at each position is added
before every layer (speed runs, 2026). Values: such a row is added to the values of every layer's attention; value residual: the
first layer's values are added to those of the later ones (Zhou et al. 2024, arXiv 2410.17897).

None of them costs a matrix product. All weights are learned, and start so that a new model computes what it computes without
all this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import Range, SizeOrNone
from stlm.model.depth import DepthConfig
from stlm.nn.stack import Block, Hashes, RowMask, Stack, StackCache, StackOutput
from stlm.nn.weights import Role

FASTER = 5.0  # learning rate of the scalars, as a multiple of the others': there are few, and they have a long way to go


@dataclasses.dataclass(frozen=True)
class Config(DepthConfig):
    """All layers process all patches, and more is added between them."""

    scalars: bool = True
    """Before each layer, scale the vectors and add the trunk's input, by learned numbers."""
    unet: bool = False
    """Add the output of each layer of the first half before its mirrored layer of the second half, if another layer is between
    them."""
    ngrams: SizeOrNone = 0
    """Rows of a table of hashed n-grams that is added before every layer. 0: none."""
    values: SizeOrNone = 0
    """Rows of a table of hashed n-grams that is added to the values of attention. 0: none."""
    orders: tuple[Annotated[int, Range(1, 64)], ...] = (8,)
    """Lengths of these n-grams, in tokens up to the last one of a patch."""
    value_residual: bool = False
    """Add the values of the first layer to those of later layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.orders:
            raise ValueError("orders: give at least one length")

    def check(self, model: Any) -> None:
        if (self.values or self.value_residual) and not model.trunk.has_values:
            raise ValueError("depth: values and value_residual are about attention; choose trunk = attention")
        if self.unet and model.layers < 3:
            raise ValueError(f"depth: unet needs three layers or more; layers = {model.layers}")
        if self.value_residual and model.layers < 2:
            raise ValueError(f"depth: value_residual needs two layers or more; layers = {model.layers}")

    def build(self, blocks: Sequence[Block], dim: int) -> ResidualStack:
        return ResidualStack(blocks, dim, self)


class Table(nn.Module):
    """Hashed rows, zero at first, and the weight of their sum in each layer."""

    def __init__(self, rows: int, dim: int, layers: int, weight: float) -> None:
        super().__init__()
        self.roles = {"table": Role.TABLE}
        self.rows, self.table, self.scale = rows, nn.Parameter(torch.zeros(rows, dim)), _Scalars(layers, weight)

    def forward(self, hashes: Int[Tensor, "batch seq order"]) -> Float[Tensor, "batch seq dim"]:
        found = F.embedding_bag((hashes % self.rows).flatten(0, 1), self.table, mode="sum")
        return found.view(*hashes.shape[:2], -1)


class _Scalars(nn.Module):
    """A number for each layer."""

    lr_mult = FASTER

    def __init__(self, layers: int, start: float) -> None:
        super().__init__()
        self.each = nn.Parameter(torch.full((layers,), start))

    def of(self, depth: int) -> Float[Tensor, ""]:
        """The number of a layer. Without dimensions, it leaves the type of what it multiplies as it is, and isn't rounded."""
        return self.each[depth]


class ResidualStack(Stack):
    """A stack of layers between which something is added. It can't be split in two: later layers read what earlier ones did."""

    def __init__(self, blocks: Sequence[Block], dim: int, config: Config) -> None:
        super().__init__(blocks)
        n = len(blocks)
        self.orders = config.orders if config.ngrams or config.values else ()
        self.keep = _Scalars(n, 1.0) if config.scalars else None
        self.origin = _Scalars(n, 0.0) if config.scalars else None
        self.skips = _Scalars((n - 1) // 2, 0.0) if config.unet else None
        self.ngrams = Table(config.ngrams, dim, n, 1 / n) if config.ngrams else None
        self.values = Table(config.values, blocks[0].value_width, n, 1.0) if config.values else None
        self.first_values = _Scalars(n, 0.0) if config.value_residual else None

    @property
    def can_split(self) -> bool:
        return False

    @property
    def leaves_out(self) -> bool:  # type: ignore[override]
        """While only some of the layers run, there may be nothing to skip to."""
        return self.active < len(self.blocks) and (self.skips is not None or self.first_values is not None)

    def forward(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], cache: StackCache | None = None,
                lengths: Int[Tensor, " batch"] | None = None, bidirectional: RowMask = None,
                hashes: Hashes = None) -> StackOutput:
        """hashes: of the n-grams at each position, if there are tables."""
        context, origin = self._context(x, segment_ids, positions, cache, bidirectional), x
        outputs: list[Tensor] = []
        added = None if self.ngrams is None or hashes is None else self.ngrams(hashes).to(x.dtype)
        values = None if self.values is None or hashes is None else self.values(hashes).to(x.dtype)
        first: Tensor | None = None
        for depth in range(self.active):
            x = self._before(depth, x, origin, outputs, added)
            x, new = self._run_layer(depth, x, self._with_values(context, depth, values, first), cache, lengths)
            outputs.append(x)
            first = new[1].flatten(-2) if depth == 0 and self.first_values is not None else first
        self._advance(segment_ids, cache, lengths)
        return StackOutput(x)

    def _before(self, depth: int, x: Tensor, origin: Tensor, outputs: Sequence[Tensor], added: Tensor | None) -> Tensor:
        """The input of a layer. outputs: those of the layers before it."""
        if self.keep is not None and self.origin is not None:
            x = self.keep.of(depth) * x + self.origin.of(depth) * origin
        mirrored = self.active - 1 - depth
        if self.skips is not None and mirrored < depth - 1:
            x = x + self.skips.of(mirrored) * outputs[mirrored]
        if self.ngrams is not None and added is not None:
            x = x + self.ngrams.scale.of(depth) * added
        return x

    def _with_values(self, context: Any, depth: int, values: Tensor | None, first: Tensor | None) -> Any:
        """The context of a layer, with what is added to its values."""
        parts = [] if values is None or self.values is None else [self.values.scale.of(depth) * values]
        if first is not None and self.first_values is not None:
            parts.append(self.first_values.of(depth) * first)
        return dataclasses.replace(context, values=sum(parts)) if parts else context
