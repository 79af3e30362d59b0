"""Items are what the harness makes of them, and what a model answers is judged as it should be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tests.conftest import small_model

from stlm.errors import UserError
from stlm.evaluate import benchmark, world_pairs
from stlm.evaluate.benchmark import answer, judge, summarize
from stlm.evaluate.evaluation import Evaluation, TaskData
from stlm.evaluate.item_task import DatasetTask, ItemTask
from stlm.evaluate.items import Item, sample
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.scorer import Likelihood, Scorer, nothing
from stlm.evaluate.task import choose, find, progression
from stlm.model.small import Bytes
from stlm.text.world import WorldParseError, parse_story

RECORDS = {
    "blimp": {"sentence_good": "He sits.", "sentence_bad": "He sit.", "field": "morphology", "UID": "agreement_1",
              "linguistics_term": "subject_verb_agreement"},
    "hellaswag": {"activity_label": "Baking", "ctx_a": "A man opens an oven.", "ctx_b": "he", "label": "1",
                  "endings": ["flies [title] away.", "takes out  bread.", "sings [step] loud.", "is an oven."]},
    "arc_easy": {"question": "What melts?", "choices": {"text": ["ice", "iron", "air"], "label": ["A", "B", "C"]},
                 "answerKey": "A"},
    "winogrande": {"sentence": "Ann thanked Joan because _ had helped.", "option1": "Ann", "option2": "Joan", "answer": "2"},
    "mmlu": {"subject": "college_physics", "question": " What is heavy? ", "choices": ["a", "b", "c", "d"], "answer": 3},
    "lambada_openai": {"text": "She gave it to the man, and he thanked the woman"},
    "openbookqa": {"question_stem": "Ice is", "choices": {"text": ["hot", "cold"], "label": ["A", "B"]}, "answerKey": "B"},
    "commonsense_qa": {"question": "Where do fish live?", "answerKey": "C",
                       "choices": {"text": ["sky", "fire", "sea", "sand", "hat"], "label": list("ABCDE")}},
    "boolq": {"passage": "Ice is cold.", "question": "is ice hot", "label": 0},
}
PROMPTS = {
    "blimp": ([("", " He sits."), ("", " He sit.")], 0),
    "hellaswag": ([("Baking: A man opens an oven. He", f" {end}") for end in
                   ("flies. away.", "takes out bread.", "sings loud.", "is an oven.")], 1),
    "arc_easy": ([("Question: What melts?\nAnswer:", f" {end}") for end in ("ice", "iron", "air")], 0),
    "winogrande": ([("Ann thanked Joan because Ann", " had helped."), ("Ann thanked Joan because Joan", " had helped.")], 1),
    "mmlu": ([("The following are multiple choice questions (with answers) about college physics.\n\nWhat is heavy?\nA. a\nB. b"
               "\nC. c\nD. d\nAnswer:", f" {letter}") for letter in "ABCD"], 3),
    "lambada_openai": ([("She gave it to the man, and he thanked the", " woman")], 0),
    "openbookqa": ([("Ice is", " hot"), ("Ice is", " cold")], 1),
    "commonsense_qa": ([("Question: Where do fish live?\nA. sky\nB. fire\nC. sea\nD. sand\nE. hat\nAnswer:", f" {letter}")
                        for letter in "ABCDE"], 2),
    "boolq": ([("Ice is cold.\nQuestion: is ice hot?\nAnswer:", f" {answer}") for answer in ("no", "yes")], 0),
}
OTHER_LABEL = {"hellaswag": {"label": "0"}, "arc_easy": {"answerKey": "B"}, "winogrande": {"answer": "1"},
               "mmlu": {"answer": 0}, "openbookqa": {"answerKey": "A"}, "commonsense_qa": {"answerKey": "A"},
               "boolq": {"label": 1}}


class Fixed(Scorer):
    """Finds texts as likely as a function of the pair says."""

    def __init__(self, log_p):
        self.name, self.fingerprint, self.n_parameters, self.limit, self.calls = "fixed", "00", 1, 100, 0
        self._log_p = log_p

    def likelihoods(self, pairs, progress=nothing):
        self.calls += 1
        progress(len(pairs))
        return [Likelihood(self._log_p(*pair), False) for pair in pairs]

    def log_p_of_documents(self, documents, progress=None):
        return [self._log_p("", document.decode()) for document in documents]

    def features(self, texts, layer, progress=None):
        return [[float(len(text))] for text in texts]

    def write(self, prompts, max_bytes, stops, temperature, seed=0):
        return ["and so on " * 3] * len(prompts)


@pytest.mark.parametrize("name", RECORDS)
def test_prompts(name):
    item = find(name).item(RECORDS[name])
    pairs, gold = PROMPTS[name]
    assert list(item.pairs) == pairs and item.gold == gold


def leaks(item, record, other):
    """Whether the prompt tells which answer is right: it changes with the label alone."""
    return item(record).pairs != item(record | other).pairs


@pytest.mark.parametrize("name", OTHER_LABEL)
def test_no_prompt_tells_the_answer(name):
    item = find(name).item
    assert not leaks(item, RECORDS[name], OTHER_LABEL[name])
    assert item(RECORDS[name]).gold != item(RECORDS[name] | OTHER_LABEL[name]).gold

    def planted(record):
        found = item(record)
        return Item(tuple((f"{context} ({found.gold})", text) for context, text in found.pairs), found.choices, found.gold)

    assert leaks(planted, RECORDS[name], OTHER_LABEL[name])


def test_ties_are_wrong_and_counted():
    items = [find("arc_easy").item(RECORDS["arc_easy"])] * 3
    outcomes = [judge(item, [Likelihood(-5.0, True)] * 3) for item in items]
    found = summarize(find("arc_easy").metrics, items, outcomes)
    assert found["acc,none"] == 0 and found["ties"] == 3 and found["chance"] == pytest.approx(1 / 3)
    same_by_character = Item((("", " ab"), ("", " abcd")), ("ab", "abcd"), 0)
    outcome = judge(same_by_character, [Likelihood(-2.0, False), Likelihood(-4.0, False)])
    assert outcome.tie == {"acc": False, "acc_norm": True, "acc_bytes": True} and outcome.right["acc_norm"] == 0
    only = [find("lambada_openai").item(RECORDS["lambada_openai"])]
    found = summarize(find("lambada_openai").metrics, only, [judge(only[0], [Likelihood(-2.0, False, tied=True)])])
    assert found["acc,none"] == 0 and found["ties"] == 1


def test_prompts_that_are_cut_are_counted():
    items = [find("arc_easy").item(RECORDS["arc_easy"])] * 2
    each = [[Likelihood(-5.0, True, cut=n > 0), Likelihood(-6.0, False), Likelihood(-7.0, False)] for n in range(2)]
    assert summarize(find("arc_easy").metrics, items, [judge(items[0], answers) for answers in each])["cut"] == 1


def test_normalised_by_characters_and_by_bytes():
    item = Item((("", "äää"), ("", "aaaa")), ("äää", "aaaa"), 0)
    right = judge(item, [Likelihood(-9.0, False), Likelihood(-8.0, False)]).right
    assert right == {"acc": 0.0, "acc_norm": 0.0, "acc_bytes": 1.0}  # -3 against -2 by character, -1.5 against -2 by byte


def test_one_choice_is_right_where_it_would_be_written():
    items = [find("lambada_openai").item(RECORDS["lambada_openai"])] * 2
    outcomes = [judge(items[0], [Likelihood(-2.0, True)]), judge(items[0], [Likelihood(-4.0, False)])]
    found = summarize(find("lambada_openai").metrics, items, outcomes)
    assert found["acc,none"] == 0.5 and found["perplexity,none"] == pytest.approx(math.exp(3)) and found["chance"] == 0


def test_standard_errors():
    items = [find("blimp").item(RECORDS["blimp"])] * 10
    bad = [Likelihood(-1.0 if i < 7 else 1.0, False) for i in range(10)]
    outcomes = [judge(item, [Likelihood(0.0, False), other]) for item, other in zip(items, bad, strict=True)]
    found = summarize(find("blimp").metrics, items, outcomes)
    assert found["acc,none"] == 0.7 and found["acc_stderr,none"] == pytest.approx(math.sqrt(0.7 * 0.3 / 9))
    assert found["groups"]["agreement_1"]["n"] == 10 and "field morphology" in found["groups"]


def test_subsets_are_drawn_once():
    items = [Item((("", str(i)),), (str(i),), 0) for i in range(50)]
    one = sample(items, 10, 0)
    assert one == sample(items, 10, 0) != sample(items, 10, 1) and len(set(one)) == 10
    assert sample(items, None, 0) == sample(items, 99, 0) == items


def test_answers_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "CHUNK", 4)
    items = [Item((("", str(i)), ("", "x" * i)), (str(i), "x" * i), 0) for i in range(10)]
    scorer, kept = Fixed(lambda context, text: -float(len(text))), tmp_path / "kept.jsonl"
    whole = answer(scorer, "blimp", items, kept)
    assert scorer.calls == 3 and len(whole) == 10
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join(lines[:7]) + "\n" + lines[7][:9])  # killed within the seventh answer
    shares = []
    assert answer(scorer, "blimp", items, kept, shares.append) == whole
    assert scorer.calls == 4 and len(kept.read_text().splitlines()) == 11 and shares[-1] == 1
    assert answer(scorer, "blimp", items, kept) == whole and scorer.calls == 4
    assert answer(scorer, "blimp", items[:5], kept) == whole[:5] and scorer.calls == 6  # other items: from the start
    answer(scorer, "blimp", items, kept)
    lines, calls = kept.read_text().splitlines(), scorer.calls
    kept.write_text("\n".join([*lines[:5], *lines[1:5], *lines[5:]]) + "\n")  # two evaluations wrote at the same time
    assert answer(scorer, "blimp", items, kept) == whole and scorer.calls > calls


def test_the_time_of_answers_is_kept_with_them(tmp_path, monkeypatch):
    """An evaluation that was killed and goes on has not taken a moment only."""
    monkeypatch.setattr(benchmark, "CHUNK", 2)
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: float(next(clock)))
    items = [Item((("", str(i)), ("", "x" * i)), (str(i), "x" * i), 0) for i in range(6)]
    scorer, kept = Fixed(lambda context, text: -float(len(text))), tmp_path / "kept.jsonl"
    answer(scorer, "blimp", items, kept)
    assert benchmark.seconds_of(kept) == 15
    kept.write_text("\n".join(kept.read_text().splitlines()[:3]) + "\n")
    answer(scorer, "blimp", items, kept)
    assert benchmark.seconds_of(kept) == 15
    answer(scorer, "blimp", items, kept)
    assert benchmark.seconds_of(kept) == 15


def benchmarks():
    """All tasks of items that don't depend on a text."""
    return [task for task in choose("all") if isinstance(task, ItemTask) and "text" not in task.options]


@pytest.mark.slow
def test_a_random_model_is_at_chance(real_data):
    tokenizer = Bytes()
    model = small_model(("stride", "last", "conv", "tied"), tokenizer, layers=1, encoder_layers=0, decoder_layers=1).float()
    scorer = NativeScorer("random", model, tokenizer, 512)
    for task in benchmarks():
        found = task.run(Evaluation(scorer=scorer, limit=300))
        metric = "acc_bytes" if "acc_bytes" in task.metrics else "acc"
        if task.kind != "lambada_openai":
            error = math.sqrt(found["chance"] * (1 - found["chance"]) / found["n"])
            assert abs(found[f"{metric},none"] - found["chance"]) < 6 * error, task.kind
        assert found["n"] == 300 and found["source"] in ("STLM_DATA", "built-in corpus")


@pytest.mark.parametrize("tasks", ["blimp,arc_easy,lambada_openai", pytest.param("all", marks=pytest.mark.slow)])
def test_a_constant_model_gets_nothing(real_data, tasks):
    scorer = Fixed(lambda context, text: -1.0)
    for task in benchmarks() if tasks == "all" else choose(tasks):
        found = task.run(Evaluation(scorer=scorer, limit=50))
        assert found["acc,none"] == 0
        assert task.kind == "lambada_openai" or found["ties"] == (50 if task.metrics[0] == "acc" else found["ties"])
    model = small_model(("stride", "last", "conv", "tied"), Bytes(), layers=1).float()
    torch.nn.init.zeros_(model.norm.gain)
    found = find("lambada_openai").run(Evaluation(scorer=NativeScorer("constant", model, Bytes(), 512), limit=50))
    assert found["acc,none"] == 0 and found["ties"] == 50


@pytest.mark.slow
def test_sizes_and_groups(real_data):
    sizes = {task.kind: len(task.items(TaskData())[0]) for task in choose("all") if isinstance(task, DatasetTask)}
    assert all(sizes[name] == find(name).whole for name in sizes if name != "hellaswag") and sizes["hellaswag"] == 1000
    blimp, mmlu = find("blimp").items(TaskData())[0], find("mmlu").items(TaskData())[0]
    assert len({item.groups[-1] for item in blimp}) == 67 and len({item.groups[-1] for item in mmlu}) == 57
    assert len({group for item in blimp for group in item.groups if group.startswith("field")}) == 4
    phenomena = [group for item in blimp for group in item.groups if group.startswith("phenomenon")]
    assert len(set(phenomena)) == 12 and phenomena.count("phenomenon argument_structure") == 9000
    shown = find("mmlu_5shot").items(TaskData())[0]
    assert all(item.pairs[0][0].count("\nAnswer:") == 6 for item in shown[::500])
    for item, plain in zip(shown[::50], mmlu[::50], strict=True):  # no question is among the solved ones before it
        question = plain.pairs[0][0].partition("\n\n")[2]
        assert item.pairs[0][0].count(question) == 1 and item.pairs[0][0].endswith(question)
    assert shown[0].pairs[0][0].count("The following are") == 1 and shown[0].pairs[0][0].endswith(mmlu[0].pairs[0][0][-40:])


def test_folders_in_the_layout_of_the_hub(tmp_path):
    import pyarrow
    from pyarrow import parquet

    place = tmp_path / "ai2_arc" / "ARC-Easy"
    place.mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist([RECORDS["arc_easy"]] * 2), place / "test-00000-of-00001.parquet")
    items, source = find("arc_easy").items(TaskData(folder=tmp_path))
    assert list(items[0].pairs) == PROMPTS["arc_easy"][0] and len(items) == 2 and source == f"folder {tmp_path.name}"
    (tmp_path / "blimp" / "agreement").mkdir(parents=True)
    (tmp_path / "blimp" / "agreement" / "train.jsonl").write_text(json.dumps(RECORDS["blimp"]))
    assert len(find("blimp").items(TaskData(folder=tmp_path))[0]) == 1
    with pytest.raises(UserError, match="there is neither boolq_validation"):
        find("boolq").items(TaskData(folder=tmp_path))
    (tmp_path / "boolq_validation.jsonl").write_text('{"question": "is it"}\n')
    with pytest.raises(UserError, match="has the wrong form"):
        find("boolq").items(TaskData(folder=tmp_path))
    with pytest.raises(UserError, match="no such folder"):
        find("boolq").items(TaskData(folder=Path("nowhere")))


def test_pairs_of_the_world(monkeypatch):
    monkeypatch.setattr(world_pairs, "EACH", 60)
    items = world_pairs.pairs()
    kinds = [item.groups[0] for item in items]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(
        ("agreement", "pronouns", "entities", "numbers"), world_pairs.EACH)
    for item in items[:40]:
        (context, good), (same, bad) = item.pairs
        assert context == same and good != bad
        with pytest.raises(WorldParseError) as caught:
            parse_story(context + bad)
        assert caught.value.place < len(context) + len(bad)
    right = Fixed(lambda context, text: 0.0 if (context, text) in {item.pairs[0] for item in items} else -1.0)
    assert find("world").run(Evaluation(scorer=right, limit=100))["acc,none"] == 1


def test_progression():
    text = "Once there was a king who had three sons, and each of them wanted to see the sea before the winter came. " * 6
    items = progression.items([text.encode()] * 3 + [b"too short"])
    assert {item.groups[0] for item in items} == set(progression.WAYS) and len(items) == 18
    for item in items:
        (before, real), (same, spoilt) = item.pairs
        assert before == same and (before + real) in text and real != spoilt
        assert abs(len(real) - len(spoilt)) < 12
    assert items == progression.items([text.encode()] * 3) != progression.items([text.encode()] * 3, seed=1)


def test_tasks_are_chosen_by_name():
    assert [task.kind for task in choose("blimp,paper")] == ["blimp", "arc_easy", "hellaswag", "mmlu", "winogrande"]
    with pytest.raises(UserError, match="did you mean 'blimp'"):
        choose("blimb")
