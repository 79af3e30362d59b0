"""The page of a comparison holds all dots, of however few and short runs, and says in words what they show."""

from __future__ import annotations

import re

import pytest
from matplotlib import pyplot

from stlm.compare import comparison_page, record
from stlm.compare.plan import make_plan
from stlm.compare.recipe import Recipe
from stlm.compare.statistics import summary
from stlm.train.folder import BITS
from tests.compare.fakes import finish

NAMES = ("words", "<b>strides</b> & $x$", "[red] {third} % 語")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Make the page of runs with these bits per byte, a row for each arm. draw: with its pictures, which take time."""
    monkeypatch.chdir(tmp_path)

    def make(*bits: tuple[float, ...], looks: bool = True, draw: bool = False) -> str:
        arms = {name: f"demo --model.layers {number + 1}" for number, name in enumerate(NAMES[:len(bits)])}
        recipe = Recipe("Is <i>it</i> so?", "$p$ & <q>", "steps", 2, arms, "words", seeds=tuple(range(len(bits[0]))))
        plan = make_plan(["my recipes/a b.py", "--jobs", "2"], recipe, 1)
        for arm, values in zip(arms, bits, strict=True):
            for seed, value in enumerate(values):
                finish(plan.arms[arm][seed], value)
                if not looks:
                    (plan.arms[arm][seed].folder / "metrics.jsonl").unlink()
        if not draw:
            monkeypatch.setattr(comparison_page, "svg", lambda figure: pyplot.close(figure) or "<svg></svg>")
            monkeypatch.setattr(comparison_page, "_label", lambda axes, dots: None)
        return comparison_page.write_page(plan, record.make_record(plan, record.Recorded())).read_text()
    return make


def dots(svg: str) -> list[float]:
    """Where the dots of single runs are, 0 at the left end of the axis and 1 at its right."""
    left, right = (float(x) for x in re.search(r'id="patch_2">\s*<path d="M ([\d.]+) [\d.]+\s*L ([\d.]+)', svg).groups())
    return [(float(x) - left) / (right - left) for x in re.findall(r'<use [^>]*x="([\d.]+)"[^>]*fill: #8a8f98', svg)]


@pytest.mark.parametrize("bits", [
    [(3.0, 3.6)], [(3.0, 3.6), (8.0, 2.9)], [(2.0,), (2.1,)], [(2.0, 2.0), (2.0, 2.0)],
    [(1.0, 1.001), (1.002, 1.003), (7.0, 7.5)]])
def test_all_dots_are_inside(bits):
    shown = {name: summary(values) for name, values in zip(NAMES, bits, strict=False)}
    arms = {name: {"mean": shown[name].mean, "n": len(values), "seeds": [{BITS: value} for value in values],
                   "interval": [shown[name].low, shown[name].high] if len(values) > 1 else None}
            for name, values in zip(NAMES, bits, strict=False)}
    found = dots(comparison_page._means(arms, "words"))
    assert len(found) == sum(map(len, bits)) and all(0 < x < 1 for x in found)


def test_the_axis_is_not_stretched_by_an_interval_of_two_seeds():
    low, high = comparison_page._limits([{"seeds": [{BITS: 3.0}, {BITS: 3.6}], "interval": [-0.761, 7.369]}])
    assert 2.3 < low < 3.0 and 3.6 < high < 4.3
    low, high = comparison_page._limits([{"seeds": [{BITS: 3.0}, {BITS: 3.6}], "interval": [2.9, 3.7]}])
    assert 2.8 < low < 2.9 and 3.7 < high < 3.8


@pytest.mark.parametrize(("bits", "verdict", "interval"), [
    ([(3.0, 3.6), (1.0, 1.1)], "no difference from words shown", "too wide"),
    ([(3.0, 3.1), (1.0, 1.1)], "better than words", "2.415 to 3.685"),
    ([(3.0, 3.1), (3.02, 3.09)], "no difference from words shown", "2.415 to 3.685"),
    ([(3.0,), (3.1,)], "with one seed nothing can be said about chance", ""),
    ([(3.0, 3.01, 3.02), (4.0, 4.01, 4.02)], "worse than words", "3.985 to 4.035"),
    ([(3.0, 3.0), (3.0, 3.0)], "no difference from words shown", "3.000 to 3.000")])
def test_what_runs_show_is_said(page, bits, verdict, interval):
    text = page(*bits)
    assert verdict in re.search(r"<ul>(.*)</ul>", text, re.DOTALL)[1]
    assert f'<td class="n">{interval}</td>' in text


def test_one_arm_needs_no_verdict(page):
    assert "Verdict" not in page((3.0, 3.6))


def test_names_that_look_like_markup_stay_text(page):
    text = page((3.0, 3.6), (1.0, 1.1), (2.0, 2.1), draw=True)
    assert "<b>strides" not in text and "<i>it" not in text and "<q>" not in text
    assert "&lt;b&gt;strides&lt;/b&gt; &amp; $x$" in text and "[red] {third} % 語" in text


@pytest.mark.filterwarnings("error")
def test_many_long_names_have_room():
    """matplotlib warns where nothing is left of the axes."""
    names = [f"a way to train with a long name, here number {number} of many" for number in range(30)]
    rows = [{"arm": name, "mean": 1.0 + number ** 4 / 1e5, "parameters": {"unique": 2e6}, "flops": 1e9, "bytes": 1e6,
             "written": 900.0} for number, name in enumerate(names)]
    pictures = comparison_page._trades(rows, comparison_page._colours(names))
    assert all("far above" in picture and "number 29" in picture for picture in pictures.values())


def test_small_figures_have_a_unit_that_fits(page):
    text = page((3.0, 3.6), (1.0, 1.1))
    heads = re.findall(r'<th class="n">(.*?)</th>', text)
    row = re.findall(r'<td class="n">(.*?)</td>', text[text.index('<tr title'):])
    shown = dict(zip(heads, row, strict=False))
    assert (shown["kB read"], shown["seconds"], shown["MFLOPs"], shown["B read a second"]) == ("2.05", "18.0", "3.00", "114")


def test_without_looks_a_word_stands_for_the_curves(page):
    text = page((3.0, 3.6), looks=False)
    assert "no run has looked at held-out text" in text and text.count("<svg") == 4


def test_wide_parts_can_be_scrolled(page):
    text = page((3.0, 3.6), (1.0, 1.1))
    assert all(text[:part.start()].rstrip().endswith('<div class="wide">') for part in re.finditer("<table|<svg", text))


def test_the_command_is_the_one_that_was_typed(page):
    assert "<pre>stlm compare &#39;my recipes/a b.py&#39; --jobs 2</pre>" in page((3.0,))
