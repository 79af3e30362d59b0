"""The interface of models for benchmarks: the likelihood of a text after a context, and more."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence

Pair = tuple[str, str]  # a context, and what follows it
SCORING = 2  # version of all scorers here: increased whenever the same model gives other likelihoods than before
Progress = Callable[[int], None]  # is called with the number of newly finished texts


def nothing(done: int) -> None:
    """Progress that does nothing."""


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """The likelihood of a text after a context.

    log_p: the natural logarithm of its probability. greedy: whether each of its tokens is likelier than any other token. tied:
    whether each is at least as likely as any other, but not greedy. cut: whether the context was too long, so that its
    beginning was left out.
    """

    log_p: float
    greedy: bool
    tied: bool = False
    cut: bool = False


class Scorer(abc.ABC):
    """A language model, of stlm or of another program.

    name: for tables and records. fingerprint: a hash of the weights and of everything else that the answers depend on.
    n_parameters: number of unique parameters. limit: the most tokens of a text with its context; the beginning of a longer
    context is left out.
    """

    name: str
    fingerprint: str
    n_parameters: int
    limit: int

    @abc.abstractmethod
    def likelihoods(self, pairs: Sequence[Pair], progress: Progress = nothing) -> list[Likelihood]:
        """The likelihood of each text after its context. The context "" is the beginning of a document."""

    @abc.abstractmethod
    def log_p_of_documents(self, documents: Sequence[bytes], progress: Progress = nothing) -> list[float]:
        """The natural logarithm of the probability of each text as a document of its own.

        Texts longer than ``limit`` are read in windows that overlap by half.
        """

    def scored_text(self, document: bytes) -> bytes:
        """The bytes that `log_p_of_documents` scores for a text: the text, and what the model's tokenizer adds to every text.
        UserError if the tokenizer loses or changes bytes, because bits per byte would be of another text.
        """
        return document

    @abc.abstractmethod
    def features(self, texts: Sequence[str], layer: int | None, progress: Progress = nothing) -> list[list[float]]:
        """One vector for each text: the mean of the outputs of a layer of the trunk over all positions.

        layer: 1 is the first; None means the last. Raises UserError if there is no such layer.
        """

    @abc.abstractmethod
    def write(self, prompts: Sequence[str], max_bytes: int, stops: Sequence[str], temperature: float, seed: int = 0
              ) -> list[str]:
        """Continue each prompt until one of ``stops`` comes, the text ends, or it has ``max_bytes``. Returns the new text only.
        """


def bits_of(scorer: Scorer, documents: Sequence[bytes], progress: Progress = nothing) -> tuple[list[float], list[int]]:
    """The bits of each text as a document of its own, and the number of bytes that they are of."""
    sizes = [len(scorer.scored_text(document)) for document in documents]
    return [-log_p / math.log(2) for log_p in scorer.log_p_of_documents(documents, progress)], sizes


def cut_at(text: str, stops: Sequence[str]) -> str:
    """``text`` up to the first of ``stops``."""
    found = [index for stop in stops if stop and (index := text.find(stop)) >= 0]
    return text[:min(found)] if found else text
