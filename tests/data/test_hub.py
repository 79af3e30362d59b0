"""Text comes from the Hugging Face hub as from files, and faults of the hub are named."""

from __future__ import annotations

import itertools
import sys
import types

import pytest
from tests.data.test_sources import both, by_hash, everything, fault

from stlm.data.sources import open_source
from stlm.errors import UserError


@pytest.fixture
def hub(monkeypatch):
    """In place of the package ``datasets``: the splits it has, and what it was asked."""
    def load_dataset(path, name=None, *, split, streaming, revision):
        assert streaming and split != "test" and revision == fake.revision
        for row in fake.splits[split]:
            if isinstance(row, Exception):
                raise row
            yield row

    def dataset_info(path, timeout):
        if fake.shut:
            raise OSError("the network is down")
        return types.SimpleNamespace(sha=fake.revision)

    fake = types.SimpleNamespace(splits={}, asked=[], revision="r1", shut=False)
    fake.load_dataset, fake.dataset_info = load_dataset, dataset_info
    fake.get_dataset_split_names = lambda *asked, revision: fake.asked.append(asked) or list(fake.splits)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def rows(count: int) -> list[dict]:
    return [{"text": f"Story {number:04}. " * 10} for number in range(count)]


def test_splits_of_the_hub(hub):
    texts = [row["text"].encode() for row in rows(40)]
    for name in ("validation", "valid"):
        hub.splits = {"train": rows(40), name: [*rows(9), {"text": None}, {"text": ""}], "test": []}
        assert both("hf:some/thing:en.1") == (texts, texts[:9])
    assert set(hub.asked) == {("some/thing", "en.1")}
    hub.splits = dict.fromkeys(hub.splits, ({"text": "x" * 10_000} for _ in itertools.count()))
    assert [len(split) for split in both("hf:thing", megabytes=0.055)] == [6, 100]
    hub.splits = {"train": rows(2000), "test": rows(9)}
    train, validation = both("hf:thing", megabytes=0.06)
    assert by_hash(train, validation) and len(train) + len(validation) == 500
    hub.splits = {"train": rows(40)}
    assert everything("hf:thing") == b"".join(texts)


@pytest.mark.parametrize(("split", "stream", "said"), [
    ("test", rows(90), "hf:thing: it has no split named train; its splits are test; choose"),
    ("train", [{"a": "b"}], "hf:thing, train row 1: there is no field 'text'; the fields are 'a'"),
    ("train", [{"text": 3}], "hf:thing, train row 1: the field 'text' holds int, not a string"),
    ("train", [*rows(30), {"text": "\ud800"}], "train row 31: the field 'text' holds half a"),
    ("train", [*rows(30), OSError("the line is dead\nsay the wires")],
     "hf:thing: cannot be read from the hub (the line is dead); check its name and the network"),
    ("train", [TimeoutError()], "cannot be read from the hub (TimeoutError)"),
    ("train", rows(3), "stlm needs at least 1 kB"),
])
def test_faults_of_the_hub(hub, split, stream, said):
    hub.splits = {split: stream}
    assert said in fault("hf:thing")


def test_the_revision_identifies_a_text_of_the_hub(hub):
    first = open_source("hf:some/text").fingerprint()
    assert open_source("hf:some/text").fingerprint() == first
    hub.revision = "r2"
    second = open_source("hf:some/text").fingerprint()
    assert second != first
    hub.shut, hub.revision = True, "r3"  # nobody knows of it
    assert open_source("hf:some/text").fingerprint() == second
    assert open_source("hf:some/text", megabytes=3.0).fingerprint() != second
    with pytest.raises(UserError, match=r"hf:never/seen: cannot be read from the hub \(the network is down\)"):
        open_source("hf:never/seen").fingerprint()
