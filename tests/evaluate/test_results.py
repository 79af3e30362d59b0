"""Scores say what they are of, and a record holds only those of one model's weights, window and version."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.conftest import small_model
from tests.evaluate.test_benchmark import Fixed

from stlm.errors import UserError
from stlm.evaluate import benchmark, results
from stlm.evaluate.benchmark import answer, judge
from stlm.evaluate.evaluation import Evaluation
from stlm.evaluate.item_task import ItemTask
from stlm.evaluate.items import Item, multiple_choice
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.scorer import Likelihood, bits_of
from stlm.evaluate.task import bits
from stlm.evaluate.texts import HeldOut
from stlm.evaluate.windows import ROUNDING, ranked
from stlm.model.small import Bytes

COLOURS = ("white", "black", "green", "red")


class Colours(ItemTask):
    title = "Colours"
    kind = "colours"
    things = ("Snow", "Coal", "Grass", "Blood")

    def items(self, data):
        return [multiple_choice(f"{thing} is", COLOURS, n, (thing,)) for n, thing in enumerate(self.things)], "made by hand"


class Others(Colours):
    things = ("Milk", "Ink", "Moss", "Rust")


def by_length(context, text):
    return -float(len(context) + 2 * len(text))


def scorer_of(fingerprint="00", limit=100, log_p=by_length):
    scorer = Fixed(log_p)
    scorer.fingerprint, scorer.limit = fingerprint, limit
    return scorer


def run(folder, task=None, scorer=None, **asked):
    """What ``stlm eval`` does with one task; the record in the folder."""
    task = task or Colours()
    context = Evaluation(scorer=scorer or scorer_of(), kept=folder / "samples.jsonl", **asked)
    found = results.open_scores(folder, context.scorer)
    figures = task.run(context)
    results.add(found, task, figures, figures.pop("seconds"), context)
    results.save(folder, found)
    return json.loads((folder / results.FILE).read_text())


@pytest.mark.parametrize("other", [
    {"task": Others()}, {"limit": 2}, {"limit": 2, "seed": 1}, {"scorer": scorer_of("01", log_p=lambda *pair: -1.0)},
    {"scorer": scorer_of(limit=50)}], ids=["text", "subset", "seed", "weights", "window"])
def test_the_record_is_of_what_was_asked_last(tmp_path, other):
    (tmp_path / "alone").mkdir()
    first, second, alone = run(tmp_path), run(tmp_path, **other), run(tmp_path / "alone", **other)
    again = run(tmp_path)
    for record in (first, second, alone, again):
        for of_the_moment in ("date", "seconds", "sum"):
            del record[of_the_moment]
    assert second == alone != first == again


def test_every_score_says_what_it_is_of(tmp_path):
    judged = scorer_of("02")
    found = run(tmp_path, limit=2, seed=3, judge=judged)
    assert found["configs"]["colours"] == {
        "task": "colours", "num_fewshot": 0, "dataset": "made by hand", "fingerprint": "00", "limit": 2, "seed": 3,
        "layer": None, "judge": {"name": "fixed", "fingerprint": "02"}}
    row = found["results"]["colours"]
    assert (row["n"], row["published"], row["subset_seed"], len(row["digest"])) == (2, 4, 3, 16)
    assert row["digest"] != run(tmp_path, limit=2, seed=5)["results"]["colours"]["digest"]
    assert row["digest"] != run(tmp_path, task=Others(), limit=2, seed=3)["results"]["colours"]["digest"]


def test_parts_of_an_earlier_score_are_gone(tmp_path):
    run(tmp_path)
    found = run(tmp_path, task=Others(), limit=1)
    names = {"colours", *found["group_subtasks"]["colours"]}
    assert len(names) == 2 and all(set(found[table]) == names for table in ("results", "n-samples", "n-shot", "versions"))


def test_scores_of_another_version_are_gone(tmp_path, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr(results, "VERSION", results.VERSION + 1)
    assert results.open_scores(tmp_path, scorer_of())["results"] == {}


@pytest.mark.parametrize("damage", [("Colours", "Colour"), ('"n": 4', '"n": 3'), ('"n": 4', '"n": null'),
                                    ('"limit": 100', '"limit": ""')])
def test_a_record_that_something_else_changed_counts_no_more(tmp_path, damage):
    run(tmp_path)
    assert results.open_scores(tmp_path, scorer_of())["results"]
    path = tmp_path / results.FILE
    assert damage[0] in path.read_text()
    path.write_text(path.read_text().replace(*damage))
    assert results.open_scores(tmp_path, scorer_of()) == results.no_scores(scorer_of())


@pytest.mark.parametrize("text", ["{}", "[]", '{"arms": [1, 2]}', '{"results": {}, "fingerprint": "00"}', "{"])
def test_a_file_that_is_no_record_is_left_alone(tmp_path, text):
    (tmp_path / results.FILE).write_text(text)
    with pytest.raises(UserError, match="results.json"):
        run(tmp_path)
    assert (tmp_path / results.FILE).read_text() == text


def items_of(*choices):
    return [Item((("It is", f" {choice}"),), (choice,), 0) for choice in choices]


@pytest.mark.parametrize("change", ["item", "context", "order", "weights", "window", "task", "version"])
def test_kept_answers_are_of_the_same_inputs(tmp_path, monkeypatch, change):
    kept, items, scorer, task = tmp_path / "kept.jsonl", items_of("red", "blue"), scorer_of(), "colours"
    answer(scorer, task, items, kept)
    assert answer(scorer, task, items, kept) and scorer.calls == 1
    if change == "item":
        items = items_of("red", "grey")
    elif change == "context":
        items = [Item((("He is", text),), item.choices, 0) for item in items for _, text in item.pairs]
    elif change == "order":
        items = items[::-1]
    elif change == "weights":
        scorer.fingerprint = "01"
    elif change == "window":
        scorer.limit = 50
    elif change == "task":
        task = "others"
    else:
        monkeypatch.setattr(benchmark, "SCORING", benchmark.SCORING + 1)
    found = answer(scorer, task, items, kept)
    assert scorer.calls == 2 and [one.log_p for one, in found] == [by_length(*item.pairs[0]) for item in items]


@pytest.mark.parametrize("line", ['{"item": 1}', "[]", "5", '{"item": 1, "log_p": 3}', "null"])
def test_a_damaged_answer_is_given_again(tmp_path, line):
    kept, scorer = tmp_path / "kept.jsonl", scorer_of()
    whole = answer(scorer, "colours", items_of("red", "blue", "grey"), kept)
    for number in range(4):
        lines = kept.read_text().splitlines()
        lines[number] = line
        kept.write_text("\n".join(lines) + "\n")
        assert answer(scorer, "colours", items_of("red", "blue", "grey"), kept) == whole and scorer.calls == number + 2


# --- ties

QUESTION = "Which of these melts when it is left in the sun on a warm day in summer? Answer:"
CELLS = [("whitespace", "mean", "conv", "tied"), ("none", "last", "conv", "tied"), ("stride", "attention", "attention", "tied"),
         ("dynamic", "last", "conv", "tied"), ("none", "last", "linear", "tied")]


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
@pytest.mark.parametrize("context", ["", QUESTION], ids=["packed", "shared"])
def test_choices_of_the_same_text_tie_wherever_they_stand(cell, context):
    scorer = NativeScorer("it", small_model(cell, Bytes(), layers=1).float(), Bytes(), 64)
    texts = [f"{'x' * (n % 7)} {n} stones" for n in range(12)]
    items = [multiple_choice(context, [text, *texts[:n % 3], text], 0) for n, text in enumerate(texts)]
    for item, answers in zip(items, answer(scorer, "it", items), strict=True):
        first, last = answers[0].log_p, answers[-1].log_p
        assert abs(first - last) < ROUNDING * (1 + abs(first))
        pair = judge(Item((item.pairs[0], item.pairs[-1]), (item.choices[0], item.choices[-1]), 0), [answers[0], answers[-1]])
        assert all(pair.tie.values()) and not any(pair.right.values())


@pytest.mark.parametrize(("log_p", "tie"), [
    ((-10.0, -10.0), True), ((-10.0, -10.000001), True), ((-10.0, -10.001), False), ((-1e-8, -2e-8), True),
    ((-1e-3, -2e-3), False), ((-2000.0, -2000.001), True), ((-2000.0, -2000.1), False)])
def test_scores_that_differ_by_rounding_tie(log_p, tie):
    for gold in (0, 1):
        item = multiple_choice("", ["here", "long"], gold)
        outcome = judge(item, [Likelihood(one, False) for one in log_p])
        assert set(outcome.tie.values()) == {tie} and set(outcome.right.values()) == {float(not tie and gold == 0)}


@pytest.mark.parametrize(("lead", "greedy"), [(0.0, False), (1e-7, False), (-1e-7, False), (1e-2, True)])
def test_a_token_is_greedy_by_more_than_rounding(lead, greedy):
    scores = torch.zeros(1, 257)
    scores[0, 65] = lead
    _, is_greedy, is_level = ranked(scores, torch.tensor([65]))
    assert bool(is_greedy) == greedy and bool(is_level)


# --- bits per byte

def held(*documents):
    return SimpleNamespace(held_out=lambda limit, seed: HeldOut(list(documents), "a test", len(documents), None))


def test_bits_of_each_document(tmp_path):
    documents = (b"", b"Rain.", "naïve 超小 🎉".encode() * 9, b"\xff\x00", b"Rain.")
    scorer = NativeScorer("it", small_model(CELLS[0], Bytes(), layers=1).float(), Bytes(), 48)
    context = Evaluation(scorer=scorer, texts=held(*documents), kept=tmp_path / "samples_bits.jsonl")
    figures = bits.Config().run(context)
    head, *lines = [json.loads(line) for line in (tmp_path / "samples_bits.jsonl").read_text().splitlines()]
    assert head == {"of": figures["digest"], "model": "it", "task": "bits"}
    assert [line["bytes"] for line in lines] == [len(document) for document in documents]
    assert lines[1]["begins"] == "Rain." and lines[1]["bits_per_byte"] == pytest.approx(lines[4]["bits_per_byte"], rel=1e-5)
    whole = sum(line["bytes"] * line["bits_per_byte"] for line in lines)
    assert whole / figures["bytes"] == pytest.approx(figures["bits_per_byte,none"], rel=1e-9)
    assert whole == pytest.approx(sum(bits_of(scorer, documents)[0]))


def test_scores_that_are_no_numbers_are_refused():
    model = small_model(CELLS[0], Bytes(), layers=1).float()
    model.norm.gain.data[0] = np.nan
    scorer = NativeScorer("it", model, Bytes(), 48)
    for ask in (lambda: scorer.likelihoods([("a", "b")]), lambda: bits_of(scorer, [b"Rain."])):
        with pytest.raises(UserError, match="aren't finite"):
            ask()
