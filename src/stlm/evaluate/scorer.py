"""A model as the benchmarks see it: something that says how likely a text is after another."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence

Pair = tuple[str, str]  # a context, and what follows it
Progress = Callable[[int], None]  # told how many more texts are done


def nothing(done: int) -> None:
    """Progress that nobody watches."""


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """log_p: the natural logarithm of the probability of a text; greedy: whether each of its tokens is likelier than any
    other; tied: whether only tokens that are as likely keep it from that. cut: whether the context was too long, and lost
    its beginning.
    """

    log_p: float
    greedy: bool
    tied: bool = False
    cut: bool = False


class Scorer(abc.ABC):
    """A language model, ours or another's.

    name: for tables and records. fingerprint: of the weights and of whatever else the answers depend on. n_parameters:
    unique ones. limit: the most tokens that a text and its context may have; longer contexts lose their beginning.
    """

    name: str
    fingerprint: str
    n_parameters: int
    limit: int

    @abc.abstractmethod
    def likelihoods(self, pairs: Sequence[Pair], progress: Progress = nothing) -> list[Likelihood]:
        """How likely each text is after its context; "" is the beginning of a document."""

    @abc.abstractmethod
    def log_p_of_documents(self, documents: Sequence[bytes], progress: Progress = nothing) -> list[float]:
        """The natural logarithm of the probability of each text as a document of its own.

        Texts longer than ``limit`` are read in windows that overlap by half.
        """

    @abc.abstractmethod
    def features(self, texts: Sequence[str], layer: int | None, progress: Progress = nothing) -> list[list[float]]:
        """One vector for each text: the mean, over its places, of what a layer of the trunk puts out.

        layer: 1 for the first; the last where None. Raises UserError where there is none of that number.
        """

    @abc.abstractmethod
    def write(self, prompts: Sequence[str], max_bytes: int, stops: Sequence[str], temperature: float, seed: int = 0
              ) -> list[str]:
        """Continue each prompt until one of ``stops`` would begin, or the text ends."""


def cut_at(text: str, stops: Sequence[str]) -> str:
    """``text`` up to the first of ``stops``."""
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[:min(places)] if places else text
