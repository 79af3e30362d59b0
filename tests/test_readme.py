"""The README is short, its Python runs as it stands there, and its figures are those of docs/results.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.markdown import blocks
from tests.train.tiny import tiny_trainer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short():
    assert len(README.split()) <= 1500


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_its_python_runs(code, tmp_path, monkeypatch, capsys):
    """With a tiny run in the place of the model that is shipped."""
    monkeypatch.chdir(tmp_path)
    tiny_trainer(Path("runs/10m-en"), steps=2).run()
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert len(re.findall(r"\d bits per byte: ", capsys.readouterr().out)) == 2


def test_its_figures_are_those_of_the_results():
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    figures = re.findall(r"[\d.]+ ± [\d.]+", README)
    assert figures
    assert [figure for figure in figures if figure not in results] == []
