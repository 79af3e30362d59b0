"""The page of a run shows whatever there is of it, however short it was, and commands that work."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex

import pytest

from stlm.cli.train import _beginning
from stlm.config.decode import encode
from stlm.report.commands import how_to_run, next_steps
from stlm.report.run_page import TRAIN_BITS, _curve, write_report
from stlm.train.cli_args import configure
from stlm.train.folder import BITS, EXCERPT_BITS, RunFolder

RESULTS = {
    BITS: 7.5, "protocol": {"seq_len": 256, "overlap": 128, "bytes": 400}, "baselines": {"gzip -9": 2.0, "xz -9e": 2.4},
    "entropy": None, "seconds": 0.21, "trained_bytes": 1024, "prompt": "It's <b>", "steps": 1, "text": "<notes> & $x$",
    "parameters": {"total": 9, "unique": 9, "tables": 3, "local": 3, "trunk": 3}, "flops": 3.4e6, "reading": [["<", 8.0, 1]]}


def line(step, bits=None, excerpt=None):
    """A line of metrics."""
    given = {name: value for name, value in ((TRAIN_BITS, bits), (EXCERPT_BITS, excerpt)) if value is not None}
    return {"step": step, "bytes": 1000 * step, "seconds": 0.2 * step, "flops": 1e6 * step, **given}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Make a run's folder with these lines of metrics; its page, without drawing."""
    monkeypatch.setattr("stlm.report.run_page._curve", lambda *about: "<svg></svg>")

    def make(lines, results=RESULTS, config=None):
        folder = RunFolder(tmp_path / "runs" / "mine")
        folder.create(config or configure("demo", ["--data", "my notes"], ""))
        folder.metrics.write_text("".join(json.dumps(record) + "\n" for record in lines))
        if results:
            (folder.path / "results.json").write_text(json.dumps(results))
        folder.samples.write_text(json.dumps({"step": 1, "text": "<script>alert(1)</script>"}) + "\n")
        write_report(folder)
        return folder.report.read_text()
    return make


def heights(svg: str) -> list[float]:
    """The heights of the dots of a learning curve, as shares of the axes, 0 at the bottom."""
    point = r"([\d.]+) ([\d.]+)\s*"
    frame = re.search(rf'<g id="patch_2">\s*<path d="M {point}L {point}L {point}', svg)
    bottom, top = float(frame[2]), float(frame[6])
    return [(bottom - float(y)) / (bottom - top)
            for y in re.findall(r'<use [^>]*y="([\d.]+)" style="fill: #(?:8a8f98|c2410c)', svg)]


@pytest.mark.parametrize("lines", [
    [line(1, 8.1)], [line(1, 8.1), line(1, None, 7.9)], [line(1, None, 7.9)],
    [line(10, 9.0), line(12, 7.0), line(12, None, 7.2)], [line(step, 8 / step) for step in range(1, 15)]])
def test_curves_of_few_lines_have_dots_inside_the_picture(lines):
    found = heights(_curve(lines, RESULTS, "{}B of text", "bytes"))
    assert len(found) >= len(lines) and all(0 < height <= 1 for height in found)


@pytest.mark.parametrize("lines", [[], [line(3)], [line(1, float("nan"))], [{"step": 1}]])
def test_where_nothing_is_to_draw_a_word_says_so(run, lines):
    page = run(lines)
    assert "<svg" not in page and "There is nothing to draw yet" in page


def test_compressors_that_need_more_than_the_text_leave_room():
    """gzip on thirty bytes takes 14 bits a byte; the axis is for the curves."""
    results = {**RESULTS, "baselines": {"gzip -9": 14.4, "xz -9e": 25.1}}
    assert min(heights(_curve([line(1, 8.0), line(2, 7.0)], results, "seconds", "seconds"))) > 0.6


@pytest.mark.parametrize(("flops", "label"), [(3e6, "training MFLOPs"), (3e12, "training TFLOPs"), (500, "training FLOPs")])
def test_the_axis_has_a_unit_that_fits(monkeypatch, flops, label):
    figures = []
    monkeypatch.setattr("stlm.report.run_page.svg", figures.append)
    _curve([{**line(1, 8.0), "flops": flops}], None, "training {}FLOPs", "flops")
    assert figures[0].axes[0].get_xlabel() == label and 1 <= figures[0].axes[0].dataLim.x1 < 1000


def test_small_numbers_are_not_zero(run):
    page = run([line(1, 8.0)])
    assert "Training took 0.21 s" in page and "1 step," in page and "1.02 kB of text" in page
    assert "4.88 kB per second" in page and "3.40 MFLOPs" in page


def test_text_that_looks_like_markup_stays_text(run):
    page = run([line(1, 8.0)], {**RESULTS, "entropy": 1.0})
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "&lt;notes&gt; &amp; $x$" in page
    assert "<b>" not in re.sub(r"<b>[\d.]+</b>", "", page)  # only the figures of the bars


def test_an_unfinished_run_has_a_page(run):
    page = run([], None)
    assert "isn't finished" in page.replace("&#39;", "'") and "stlm generate mine The" in page


def test_wide_parts_can_be_scrolled(run):
    page = run([line(1, 8.0)])
    tables = [page[:found.start()].rstrip().endswith('<div class="wide">') for found in re.finditer("<table|<svg", page)]
    assert tables and all(tables)
    svg = _curve([line(1, 8.0)], None, "seconds", "seconds")
    assert int(re.match(r'<svg style="min-width: (\d+)px"', svg)[1]) > 300  # labels are as large as 10 of these pixels


# --- commands

def config_of(command: str):
    """The run that a command describes, and its name."""
    program, verb, preset, *flags = shlex.split(command)
    assert (program, verb, flags[-2]) == ("stlm", "train", "--name")
    return configure(preset, flags[:-2], ""), flags[-1]


@pytest.mark.parametrize("flags", [
    "--data 'my notes'", "--data a,b --train.minutes 0.3 --seed 4", "--data \"it's $HOME\" --model.patching stride",
    "--data x --optim muon --train.megabytes 2", "--data hf:some/name --data.field body"])
def test_the_command_of_a_run_makes_it_again(tmp_path, flags):
    config = configure("demo", shlex.split(flags), "")
    assert config_of(how_to_run(RunFolder(tmp_path / "mine"), config)) == (config, "mine-again")


@pytest.mark.parametrize(("length", "longer"), [
    ("--train.steps 6", 24), ("--train.minutes 2.5", 10.0), ("--train.megabytes 1", 4.0),
    ("--train.teraflops 0.1", 0.4), ("", 12.0)])
def test_after_own_text_come_steps_with_that_text(tmp_path, length, longer):
    config = configure("demo", ["--data", "my notes", *length.split()], "")
    write, score, train = next_steps(RunFolder(tmp_path / "mine"), config, "It's a", "demo")
    assert write == "stlm generate mine 'It'\"'\"'s a'" and score == "stlm eval mine --text OTHER_TEXT"
    found, name = config_of(train)
    unit = length.split()[0].removeprefix("--train.") if length else "minutes"
    assert (found.data.source, getattr(found.train, unit), name) == ("my notes", longer, "mine-longer")
    assert dataclasses.replace(found, train=config.train) == config


def test_a_limit_in_minutes_grows_too(tmp_path):
    config = configure("demo", ["--data", "my notes", "--train.minutes", "15", "--train.max-minutes", "20"], "")
    found, _ = config_of(next_steps(RunFolder(tmp_path / "mine"), config, "It", "demo")[-1])
    assert (found.train.minutes, found.train.max_minutes) == (60.0, 80.0)


@pytest.mark.parametrize("source", ["world", " world", "world,world"])
def test_after_the_built_in_corpus_comes_own_text(tmp_path, source):
    config = configure("10m", ["--data", source, "--seed", "2"], "")
    assert next_steps(RunFolder(tmp_path / "corpus"), config, "Anna", "10m") == [
        "stlm generate corpus Anna", "stlm train 10m --data FOLDER_OF_TEXT --seed 2 --name mine"]


@pytest.mark.parametrize(("text", "prompt"), [
    ("Anna wanted to find her kite", "Anna wanted to"), ("--flag -x of a program", "flag -x of"),
    ('He said: "No".', 'He said: "No".'),
    ("\x1b[31mred\x00 \u202etext", "[31mred text"), ("", "The"), ("- \n", "The"), ("[bold]a[/bold] 語", "[bold]a[/bold] 語")])
def test_prompts_can_be_typed(text, prompt):
    assert _beginning(text.encode()) == prompt


def test_a_file_that_is_gone_after_training_ends_nothing(tmp_path):
    config = configure("demo", ["--data", "x", "--seed", "2"], "")
    steps = next_steps(RunFolder(tmp_path / "a"), config, "The", str(tmp_path / "gone.toml"))
    assert steps[-1] == "stlm train demo --data x --train.minutes 12 --seed 2 --name a-longer"


def test_suggested_names_are_free(tmp_path):
    for name in ("mine", "mine-longer", "mine-longer-2"):
        (tmp_path / name).mkdir()
    folder = RunFolder(tmp_path / "mine")
    assert next_steps(folder, configure("demo", ["--data", "x"], ""), "")[-1].endswith("--name mine-longer-3")
    assert next_steps(folder, configure("demo", [], ""), "")[-1].endswith("--name mine-2")


def test_a_run_of_another_version_has_a_page(run, tmp_path):
    run([line(1, 8.0)])
    folder = RunFolder(tmp_path / "runs" / "mine")
    (folder.path / "config.json").write_text(json.dumps({**encode(folder.config()), "gone": 1}))
    write_report(folder)
    assert "What to try next" not in folder.report.read_text() and "7.500" in folder.report.read_text()
