"""Probes find what is there to be found, and figures about writing are what they are defined as."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from tests.evaluate.test_benchmark import Fixed

from stlm.evaluate import quality
from stlm.evaluate.evaluation import Evaluation
from stlm.evaluate.quality import Backoff, figures, words_of
from stlm.evaluate.task import choose, find


class Features(Fixed):
    """Vectors that tell the label, if ``knows``."""

    def __init__(self, knows):
        super().__init__(lambda context, text: -1.0)
        self._knows, self._draw = knows, np.random.default_rng(0)

    def features(self, texts, layer, progress=None):
        progress(len(texts))
        return [[float("good" in text) if self._knows else 0.0, *self._draw.normal(size=3)] for text in texts]


@pytest.fixture
def sst2(tmp_path):
    records = [{"sentence": f"a {'good' if i % 3 else 'poor'} film {i}", "label": int(i % 3 > 0)} for i in range(60)]
    (tmp_path / "glue_sst2_validation.jsonl").write_text("\n".join(map(json.dumps, records)))
    return tmp_path


@pytest.mark.parametrize("knows", [True, False])
def test_probes(sst2, knows):
    found = find("sst2").run(Evaluation(scorer=Features(knows), folder=sst2))
    assert found["n"] == 60 and found["chance"] == pytest.approx(2 / 3) and "cross-validation in 5 folds" in found["how"]
    assert found["acc,none"] == 1 if knows else found["acc,none"] < 0.75


def test_probes_use_a_training_set_where_there_is_one(sst2):
    text = (sst2 / "glue_sst2_validation.jsonl").read_text()
    (sst2 / "glue_sst2_train.jsonl").write_text(text)
    found = find("sst2").run(Evaluation(scorer=Features(True), folder=sst2, layer=1))
    assert found["acc,none"] == 1 and "fitted on 60 training texts" in found["how"] and "layer 1" in found["how"]


def test_probes_of_real_tasks(real_data):
    for probe in choose("glue"):
        found = probe.run(Evaluation(scorer=Features(False)))
        assert found["source"] == "STLM_DATA" and found["n"] in (872, 408, 277, 56)
        assert 0.3 < found["acc,none"] < found["chance"] + 0.1


def test_words_and_signs():
    assert words_of("It's late, Anna!") == ["it", "'", "s", "late", ",", "anna", "!"]


def test_figures_of_variety():
    found = figures(["", ""], ["a b c d a b c d", "a b"], Backoff([["a", "b"]]), None)
    assert found["distinct-1"] == 4 / 10 and found["distinct-2"] == 4 / 8
    assert found["repetition"] == pytest.approx((1 / 5 + 0) / 2)  # of five runs of four words, one stood there before


def test_backoff_is_its_definition():
    grammar = Backoff([["the", "cat", "sat"], ["the", "dog", "sat"]])
    wanted = [2 / 6, 1 / 2, 1.0]  # the; cat after the; sat after the cat
    assert grammar.score(["the", "cat", "sat"]) == pytest.approx(sum(map(math.log10, wanted)) / 3)
    assert grammar.score(["dog", "cat"]) == pytest.approx((math.log10(1 / 6) + math.log10(0.4 * 1 / 6)) / 2)
    assert grammar.score(["the", "cat", "sat"]) > grammar.score(["sat", "cat", "the"])
    assert grammar.score([]) == 0


def test_what_is_written_beside_what_people_wrote():
    judge = Fixed(lambda context, text: -float(len(text)))
    documents = [b"The king went out to see the sea. " * 20] * 3 + [b"short"]
    n, found = quality.run(Fixed(lambda context, text: -1.0), documents, documents, judge, 0)
    assert n == 3
    assert found["written"]["repetition"] > 0 and found["human"]["grammar"] > found["written"]["grammar"]
    assert found["human"]["bits per byte under the judge"] == pytest.approx(1 / math.log(2))
