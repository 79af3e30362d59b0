"""Let a model answer items, and compute figures from its answers.

Ties count as wrong, because a model that finds all choices equally likely knows nothing. (lm-evaluation-harness takes the first
of equal choices, so such a model would get all of BLiMP right.) Scores that differ by no more than rounding are ties: where a
text stands in a batch changes its last digits. The number of ties is reported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stlm.evaluate.items import Item
from stlm.evaluate.records import write_lines
from stlm.evaluate.scorer import SCORING, Likelihood, Scorer
from stlm.evaluate.windows import ROUNDING
from stlm.train.folder import read_lines, write_whole

CHUNK = 512  # items whose answers are saved together; at most these are lost if the process is killed
ANSWER = [field.name for field in dataclasses.fields(Likelihood)]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of one item.

    right: by metric, 1 if the answer is right. tie: by metric, whether the two best scores are equal. cut: whether the prompt
    was too long for the model, so that its beginning was left out.
    """

    right: dict[str, float]
    tie: dict[str, bool]
    cut: bool


def answer(scorer: Scorer, task: str, items: Sequence[Item], kept: Path | None = None,
           progress: Callable[[float], None] = lambda share: None) -> list[list[Likelihood]]:
    """The likelihood of each choice of each item of a task.

    kept: a file to which answers are added as they come. Answers in it are used again if the version of scorers, the model,
    its window, the task and all items are the same.
    progress: is called with the share that is done.
    """
    inputs = json.dumps([SCORING, scorer.fingerprint, scorer.limit, task, [item.pairs for item in items]])
    digest = hashlib.sha256(inputs.encode()).hexdigest()
    found, took = _kept(kept, digest, len(items))
    if kept is not None:  # written again from the start, which removes an incomplete last line
        write_whole(kept, json.dumps({"of": digest, "model": scorer.name, "task": task}) + "\n")
        write_lines(kept, map(_line, range(len(found)), found, took))
    while len(found) < len(items):
        done, chunk, pairs = len(found), items[len(found):len(found) + CHUNK], 0
        total = sum(len(item.pairs) for item in chunk)

        def more(n: int, done: int = done, size: int = len(chunk), total: int = total) -> None:
            nonlocal pairs
            pairs += n
            progress((done + size * pairs / total) / len(items))

        start = time.perf_counter()
        each = iter(scorer.likelihoods([pair for item in chunk for pair in item.pairs], more))
        new = [[next(each) for _ in item.pairs] for item in chunk]
        if kept is not None:
            share = (time.perf_counter() - start) / len(new)
            write_lines(kept, map(_line, range(done, done + len(new)), new, itertools.repeat(share)))
        found += new
    return found


def seconds_of(kept: Path) -> float:
    """The seconds that all answers in a file took. They may come from several calls, if an evaluation was stopped."""
    return sum(line.get("seconds", 0.0) for line in read_lines(kept))


def _line(number: int, answers: Sequence[Likelihood], seconds: float) -> dict[str, Any]:
    return {"item": number, "seconds": round(seconds, 6), **{name: [getattr(one, name) for one in answers] for name in ANSWER}}


def _kept(path: Path | None, digest: str, n: int) -> tuple[list[list[Likelihood]], list[float]]:
    """Answers of the first items, and the seconds that each took."""
    lines = [] if path is None else read_lines(path)
    found, took = list[list[Likelihood]](), list[float]()
    with contextlib.suppress(KeyError, TypeError, ValueError):  # a line that is damaged: the rest is answered again
        for line in lines[1:n + 1]:
            if lines[0]["of"] != digest or line["item"] != len(found):  # another evaluation wrote here at the same time
                break
            answers = [Likelihood(*each) for each in zip(*(line[name] for name in ANSWER), strict=True)]
            took.append(float(line["seconds"]))
            found.append(answers)
    return found, took


def judge(item: Item, answers: Sequence[Likelihood]) -> Outcome:
    """Whether the right choice has the highest log-likelihood: in total (acc), per character (acc_norm), per byte (acc_bytes).
    """
    if len(answers) == 1:  # a single choice is right if greedy decoding would write it
        return Outcome({"acc": float(answers[0].greedy), "perplexity": answers[0].log_p}, {"acc": answers[0].tied},
                       answers[0].cut)
    log_p = np.array([found.log_p for found in answers])
    per = {"acc": np.ones(len(log_p)), "acc_norm": np.array([len(choice) for choice in item.choices]),
           "acc_bytes": np.array([len(choice.encode("utf-8")) for choice in item.choices])}
    right, tie = dict[str, float](), dict[str, bool]()
    for metric, lengths in per.items():
        scores = log_p / np.maximum(lengths, 1)
        second, best = np.argsort(scores)[-2:]
        rounding = ROUNDING * (1 + np.abs(log_p)) / np.maximum(lengths, 1)
        tie[metric] = bool(scores[best] - scores[second] <= rounding[best] + rounding[second])
        right[metric] = float(best == item.gold and not tie[metric])
    return Outcome(right, tie, any(found.cut for found in answers))


def summarize(metrics: Sequence[str], items: Sequence[Item], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Figures named as in lm-evaluation-harness (``acc,none``, ``acc_stderr,none``), of all items and, under ``groups``, of
    each group. Besides: n, the chance level, ties by the first metric, and the number of prompts that were ``cut``.
    """
    members = defaultdict[str, list[int]](list)
    for number, item in enumerate(items):
        for group in item.groups:
            members[group].append(number)

    def figures(numbers: Sequence[int]) -> dict[str, Any]:
        out: dict[str, Any] = {"n": len(numbers)}
        for metric in metrics:
            values = [outcomes[number].right[metric] for number in numbers]
            mean = statistics.fmean(values)
            stderr = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
            if metric == "perplexity":
                mean = math.exp(min(-mean, 700))
                stderr = None if stderr is None else mean * stderr
            out |= {f"{metric},none": mean, f"{metric}_stderr,none": stderr}
        chance = [1 / len(items[number].pairs) if len(items[number].pairs) > 1 else 0.0 for number in numbers]
        return out | {"chance": statistics.fmean(chance), "cut": sum(outcomes[number].cut for number in numbers),
                      "ties": sum(outcomes[number].tie[metrics[0]] for number in numbers)}

    return {**figures(range(len(items))), "groups": {group: figures(numbers) for group, numbers in members.items()}}
