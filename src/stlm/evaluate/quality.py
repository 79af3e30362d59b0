"""Figures of text that a model writes, compared with text that people wrote after the same beginnings."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from stlm.evaluate.scorer import Scorer, bits_of

PROMPT, LENGTH = 100, 400  # characters of a beginning, and of its continuation by people; the model writes so many bytes
MOST = 40  # texts
TEMPERATURE = 0.8
BACKOFF = 0.4  # factor for each word by which the context is shortened (Brants et al. 2007, stupid backoff)


def run(scorer: Scorer, documents: Iterable[bytes], known: Iterable[bytes], judge: Scorer | None, seed: int,
        progress: Callable[[float], None] = lambda share: None) -> tuple[int, dict[str, dict[str, float]]]:
    """The number of texts that were long enough, and figures of ``written`` and of ``human`` texts.

    documents: held-out texts, whose beginnings are continued. known: text in which n-grams are counted. judge: a larger model
    or None; with one, the texts' bits per byte under it are added.
    """
    prompts, human, written = list[str](), list[str](), list[str]()
    for document in documents:
        text = document.decode("utf-8", errors="ignore")
        if len(text) >= PROMPT + LENGTH and len(prompts) < MOST:
            prompts.append(text[:PROMPT])
            human.append(text[PROMPT:PROMPT + LENGTH])
    for number, prompt in enumerate(prompts):
        written += scorer.write([prompt], LENGTH, [], TEMPERATURE, seed + number)
        progress((number + 1) / len(prompts))
    grammar = Backoff(words for document in known for words in [words_of(document.decode("utf-8", errors="ignore"))])
    return len(prompts), {name: figures(prompts, texts, grammar, judge)
                          for name, texts in (("written", written), ("human", human))}


def figures(prompts: Sequence[str], texts: Sequence[str], grammar: Backoff, judge: Scorer | None) -> dict[str, float]:
    """distinct-n: the number of different n-grams of words divided by the number of all, over all texts (Li et al. 2016).
    repetition: the share of 4-grams that were in the same text before. grammar: the mean log10 of a word's score given the two
    words before it.
    """
    listed = [words_of(text) for text in texts]
    out: dict[str, Any] = {f"distinct-{n}": _distinct(listed, n) for n in (1, 2, 3)}
    out["repetition"] = statistics.fmean(1 - _distinct([words], 4) for words in listed) if listed else 0.0
    out["grammar"] = statistics.fmean(grammar.score(words) for words in listed) if listed else 0.0
    if judge is not None:
        whole = [(prompt + text).encode("utf-8") for prompt, text in zip(prompts, texts, strict=True)]
        bits, n_bytes = bits_of(judge, whole)
        out["bits per byte under the judge"] = math.fsum(bits) / max(1, sum(n_bytes))
    return out


def words_of(text: str) -> list[str]:
    """Words and signs, in lower case."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def _distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    runs = [tuple(words[i:i + n]) for words in texts for i in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0


class Backoff:
    """Counts of words, pairs and triples, and the score of a word after two others. The score is the word's share after these
    two words. If the triple was never seen, it is ``BACKOFF`` times the score after one word, and so on.
    """

    def __init__(self, texts: Iterable[Sequence[str]]) -> None:
        self._ones: Counter[str] = Counter()
        self._twos: Counter[tuple[str, str]] = Counter()
        self._threes: Counter[tuple[str, str, str]] = Counter()
        for words in texts:
            self._ones.update(words)
            self._twos.update(pairwise(words))
            self._threes.update(zip(words, words[1:], words[2:], strict=False))
        self._n = self._ones.total()

    def score(self, words: Sequence[str]) -> float:
        """The mean log10 score of the words of a text; 0 for none."""
        scores = [math.log10(self._word(words[max(0, i - 2):i], word)) for i, word in enumerate(words)]
        return statistics.fmean(scores) if scores else 0.0

    def _word(self, before: Sequence[str], word: str) -> float:
        factor = 1.0
        if len(before) == 2:
            if seen := self._threes[before[0], before[1], word]:
                return seen / self._twos[before[0], before[1]]
            factor *= BACKOFF
        if before:
            if seen := self._twos[before[-1], word]:
                return factor * seen / self._ones[before[-1]]
            factor *= BACKOFF
        return factor * max(self._ones[word], 0.5) / max(self._n, 1)
