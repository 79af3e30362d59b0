"""What tokens alone decide about a batch: where patches end, and how much room things take whose number depends on the text.

A part that can say it has a method ``from_tokens``. The source of batches applies it on the host, so a GPU waits for no number,
and its tensors have few shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxtyping import Int
from torch import Tensor

from stlm.data.stream import FromTokens
from stlm.model.layout import segment_positions

if TYPE_CHECKING:
    from stlm.model.lm import LM

GRAIN = 16  # on a CPU, the number of patches per row is rounded up to a multiple of this

# From tokens, segment ids and positions [batch, seq] on the CPU: fields of `Inputs`, by name.
Part = Callable[[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]], dict[str, Any]]


def from_tokens(model: LM, few: bool = False) -> FromTokens:
    """A function that finds on the CPU what tokens decide for ``model``. few: every size that tokens decide is found, and
    rounded to few sizes, as compiled code needs it. That takes longer.
    """
    bos, parts = model.bos, [part.from_tokens(few) for part in (model.patching, model.copying)]

    def find(tokens: Int[Tensor, "batch seq"]) -> dict[str, Any]:
        segment_ids, positions = segment_positions(tokens == bos)
        return {name: value for part in parts if part for name, value in part(tokens, segment_ids, positions).items()}
    return find


def rounded_up(n: int) -> int:
    """``n``, rounded up to a multiple of `GRAIN`."""
    return -(-n // GRAIN) * GRAIN


def few_sizes(n: int, per_octave: int) -> int:
    """``n``, rounded up. There are ``per_octave`` sizes from a power of two to the next."""
    unit = max(1, (1 << max(0, (n - 1).bit_length() - 1)) // per_octave)
    return -(-n // unit) * unit
