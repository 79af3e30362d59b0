"""Several texts as one: all of their documents, and held-out text in turn."""

from __future__ import annotations

import pytest

from stlm.data.concat import Concat, open_sources
from stlm.errors import UserError


@pytest.fixture
def texts(tmp_path):
    for name, n in (("first", 60), ("second", 80)):
        folder = tmp_path / name
        folder.mkdir()
        for i in range(n):
            (folder / f"{i:02}.txt").write_text(f"{name} {i} " + "and on it goes " * 5)
    return tmp_path


def test_all_documents_of_all(texts):
    spec = f"{texts / 'first'},{texts / 'second'}"
    source = open_sources(spec)
    assert isinstance(source, Concat) and source.name == "folder first, folder second"
    alone = [open_sources(str(texts / name), held_out=500) for name in ("first", "second")]
    assert list(source.documents("train")) == [d for one in alone for d in one.documents("train")]
    held = list(source.documents("validation"))
    assert sorted(held) == sorted(d for one in alone for d in one.documents("validation"))
    assert held[0].startswith(b"first") and (len(held) < 2 or held[1].startswith(b"second"))
    assert source.size_hint == sum(one.size_hint for one in alone)
    assert source.fingerprint() == open_sources(spec).fingerprint() != alone[0].fingerprint()


def test_a_comma_in_a_name_and_a_fault(texts):
    odd = texts / "one,two"
    odd.mkdir()
    (odd / "a.txt").write_text("a text that is long enough " * 60)
    assert open_sources(str(odd)).name == "folder one,two"
    with pytest.raises(UserError, match=r"nowhere: there is no such file"):
        open_sources(f"{texts / 'first'},nowhere")
