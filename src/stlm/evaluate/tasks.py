"""The benchmarks as items: what is read, what may follow, and which of it is right.

Prompts are those of lm-evaluation-harness 0.4.13, letter by letter, so that scores agree. Fields are those of the hub or of
``$STLM_DATA/eval``, whichever an item has.
"""

from __future__ import annotations

import abc
import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from stlm.config.slot import did_you_mean
from stlm.errors import UserError
from stlm.evaluate import world_pairs
from stlm.evaluate.items import Item
from stlm.evaluate.records import Place, Record, load
from stlm.evaluate.subjects import CATEGORIES


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A benchmark. whole: how many items the published set has; metrics: what is reported, the first in tables."""

    name: str
    title: str
    whole: int
    metrics: tuple[str, ...]

    @abc.abstractmethod
    def items(self, folder: Path | None = None) -> tuple[list[Item], str]:
        """All items, and where they are from. folder: where to look, as for `records.load`."""


@dataclasses.dataclass(frozen=True)
class GeneratedTask(Task):
    """Items that are made here; source says of what."""

    source: str
    make: Callable[[], list[Item]]

    def items(self, folder: Path | None = None) -> tuple[list[Item], str]:
        return self.make(), self.source


@dataclasses.dataclass(frozen=True)
class DatasetTask(Task):
    """Items that were collected. place: where they lie; item: an item of a record; shots: how many solved examples stand
    before each; examples: where these lie.
    """

    place: Place
    item: Callable[[Record], Item]
    shots: int = 0
    examples: Place | None = None

    def items(self, folder: Path | None = None) -> tuple[list[Item], str]:
        records, source = load(self.place, folder)
        try:
            items = [self.item(record) for record in records]
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise UserError(f"{self.name}: an item from {source} is not as it should be "
                            f"({type(error).__name__}: {error}); it has to have the fields of {self.place.hub}") from None
        if not items:
            raise UserError(f"{self.name}: {source} holds no items")
        return (items if self.examples is None else self._shown(items, self.examples, folder)), source

    def _shown(self, items: list[Item], examples: Place, folder: Path | None) -> list[Item]:
        """The items with solved ones of the same subject before them."""
        solved = defaultdict[str, list[str]](list)
        for record in load(examples, folder)[0]:
            example = self.item(record)
            question = example.pairs[0][0].removeprefix(_topic(example.groups[-1]))
            solved[example.groups[-1]].append(f"{question} {example.choices[example.gold]}\n\n")
        out = []
        for item in items:
            topic, before = _topic(item.groups[-1]), "".join(solved[item.groups[-1]][:self.shots])
            pairs = tuple((topic + before + context.removeprefix(topic), text) for context, text in item.pairs)
            out.append(dataclasses.replace(item, pairs=pairs))
        return out


def _choose(context: str, choices: list[str], gold: int, groups: tuple[str, ...] = ()) -> Item:
    if not 0 <= gold < len(choices):
        raise ValueError(f"the right answer is number {gold} of {len(choices)}")
    return Item(tuple((context, f" {choice}") for choice in choices), tuple(choices), gold, groups)


def _options(record: Record) -> list[str]:
    choices = record["choices"]
    return list(choices["text"] if isinstance(choices, dict) else choices)


def _gold(record: Record) -> int:
    return record["gold"] if "gold" in record else record["choices"]["label"].index(record["answerKey"].strip())


def _blimp(record: Record) -> Item:
    # the paper has twelve phenomena (Warstadt et al. 2020, table 1), the data set a name more
    phenomenon = record["linguistics_term"].replace("s-selection", "argument_structure")
    groups = (f"field {record['field'].replace('/', '_')}", f"phenomenon {phenomenon}", record["UID"])
    return _choose("", [record["sentence_good"], record["sentence_bad"]], 0, groups)


def _hellaswag(record: Record) -> Item:
    if "query" in record:
        return _choose(record["query"], record["choices"], record["gold"])
    context = record["ctx_a"] + " " + record["ctx_b"].capitalize()
    return _choose(_tidy(f"{record['activity_label']}: {context}"), [_tidy(end) for end in record["endings"]],
                   int(record["label"]))


def _tidy(text: str) -> str:
    """Marks of the WikiHow part taken out."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def _arc(record: Record) -> Item:
    return _choose(f"Question: {record['question']}\nAnswer:", _options(record), _gold(record))


def _winogrande(record: Record) -> Item:
    """Partial scoring (Trinh and Le 2018, arXiv 1806.02847): what follows the gap, after each way to fill it."""
    before, _, after = record["sentence"].partition("_")
    options = [record["option1"], record["option2"]]
    return Item(tuple((before + option, f" {after.strip()}") for option in options), tuple(before + o for o in options),
                {"1": 0, "2": 1}[record["answer"]])


def _mmlu(record: Record) -> Item:
    subject, choices = record["subject"], record["choices"]
    listed = "".join(f"{letter}. {choice}\n" for letter, choice in zip("ABCD", choices, strict=True))
    return _choose(f"{_topic(subject)}{record['question'].strip()}\n{listed}Answer:", list("ABCD"),
                   record["gold"] if "gold" in record else record["answer"], (CATEGORIES[subject], subject))


def _topic(subject: str) -> str:
    return f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"


def _lambada(record: Record) -> Item:
    """The last word of a passage."""
    if "text" in record:
        context, _, word = record["text"].rpartition(" ")
    else:
        context, word = record["context"], record["continuation"]
    return _choose(context, [word], 0)


def _openbookqa(record: Record) -> Item:
    return _choose(record["question"] if "question" in record else record["question_stem"], _options(record), _gold(record))


def _csqa(record: Record) -> Item:
    listed = "".join(f"{letter}. {choice}\n" for letter, choice in zip("ABCDE", _options(record), strict=True))
    return _choose(f"Question: {record['question'].strip()}\n{listed}Answer:", list("ABCDE"), _gold(record))


def _boolq(record: Record) -> Item:
    if "query" in record:
        return _choose(record["query"], ["no", "yes"], ["no", "yes"].index(record["choices"][record["gold"]]))
    return _choose(f"{record['passage']}\nQuestion: {record['question']}?\nAnswer:", ["no", "yes"], int(record["label"]))


_MMLU = Place("mmlu_test", "cais/mmlu", "all", "test")
_ACC, _NORM, _BOTH = ("acc",), ("acc_norm", "acc", "acc_bytes"), ("acc", "acc_norm", "acc_bytes")
ALL: list[Task] = [
    DatasetTask("blimp", "BLiMP", 67_000, _ACC, Place("blimp", "nyu-mll/blimp", "*", "train"), _blimp),
    DatasetTask("hellaswag", "HellaSwag", 10_042, _NORM, Place("hellaswag_val_sub1000", "Rowan/hellaswag", None, "validation"),
          _hellaswag),
    DatasetTask("arc_easy", "ARC-easy", 2376, _BOTH, Place("arc_easy_test", "allenai/ai2_arc", "ARC-Easy", "test"), _arc),
    DatasetTask("winogrande", "WinoGrande", 1267, _ACC,
          Place("winogrande_validation", "allenai/winogrande", "winogrande_xl", "validation"), _winogrande),
    DatasetTask("mmlu", "MMLU", 14_042, _ACC, _MMLU, _mmlu),
    DatasetTask("mmlu_5shot", "MMLU, 5 shots", 14_042, _ACC, _MMLU, _mmlu, 5, Place("mmlu_dev", "cais/mmlu", "all", "dev")),
    DatasetTask("arc_challenge", "ARC-challenge", 1172, _NORM,
          Place("arc_challenge_test", "allenai/ai2_arc", "ARC-Challenge", "test"), _arc),
    DatasetTask("lambada_openai", "LAMBADA", 5153, ("acc", "perplexity"),
          Place("lambada_openai_test", "EleutherAI/lambada_openai", "default", "test"), _lambada),
    DatasetTask("openbookqa", "OpenBookQA", 500, _NORM, Place("openbookqa_test", "allenai/openbookqa", "main", "test"),
          _openbookqa),
    DatasetTask("commonsense_qa", "CommonsenseQA", 1221, _ACC,
          Place("csqa_validation", "tau/commonsense_qa", None, "validation"), _csqa),
    DatasetTask("boolq", "BoolQ", 3270, _ACC, Place("boolq_validation", "aps/super_glue", "boolq", "validation"), _boolq),
    GeneratedTask("world", "built-in pairs", 4 * world_pairs.EACH, _ACC, "built-in corpus", world_pairs.pairs),
]
TASKS = {task.name: task for task in ALL}
PAPER = ("blimp", "hellaswag", "arc_easy", "winogrande", "mmlu")


def choose(words: str) -> list[Task]:
    """The tasks that a list with commas names; ``all`` and ``paper`` stand for several."""
    return [TASKS[name] for name in choose_names(words, list(TASKS), {"paper": list(PAPER)})]


def choose_names(words: str, known: list[str], groups: dict[str, list[str]]) -> list[str]:
    """The names that a list with commas stands for, each once: names that are known, groups of them, or ``all``."""
    out: list[str] = []
    for word in words.split(","):
        for name in known if word == "all" else groups.get(word, [word]):
            if name not in known:
                raise UserError(f"there is no task {name!r}{did_you_mean(name, [*known, *groups])}; the tasks are "
                                f"{', '.join(known)}; {', '.join([*groups, 'all'])} stand for several")
            if name not in out:
                out.append(name)
    return out
