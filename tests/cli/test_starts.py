"""A start that fails leaves the name free. What fails later takes nothing with it."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.cli.conftest import TINY, stlm
from tests.fuzz.watch import snapshot

from stlm.evaluate.callbacks import Samples
from stlm.train.loop import Trainer

TRAIN = ("train", "tiny.toml", "--data", "text.txt", "--name", "mine", "--train.steps", "4")
TRACKER = """
from stlm.train.loop import Callback
class Tracker(Callback):
    def __init__(self, folder, config): {made}
    def on_train_begin(self, trainer): {begin}
    def on_log(self, trainer, figures): {log}
    def on_train_end(self, trainer): {end}
"""


def own_tracker(name: str = "tracker", **parts: str) -> None:
    """Write a tracker of one's own, ``own.NAME``, whose methods do what is given."""
    Path("own").mkdir(exist_ok=True)
    Path(f"own/{name}.py").write_text(TRACKER.format(**{**dict.fromkeys(("made", "begin", "log", "end"), "pass"), **parts}))
    sys.modules.pop(f"own.{name}", None)


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("tiny.toml").write_text(TINY)
    Path("text.txt").write_text("".join(f"Someone counted {i * i % 97} stones on day {i}.\n" for i in range(400)))


def refuse(error: BaseException):
    def raising(*arguments, **keywords):
        raise error
    return raising


FAILING = {
    "a wrong run to start from": ["--train.init-from", "nowhere"],
    "an unknown tracker": ["--train.trackers", "wandbb"],
    "a package that is missing": ["--train.trackers", "wandb"],
    "a tracker that can't be made": ["--train.trackers", "own.made"],
    "a tracker that can't begin": ["--train.trackers", "own.begin"],
    "a module without a tracker": ["--train.trackers", "json.decoder"],
    "an unknown task": ["--train.tasks", "blimp,wrld"],
    "a task without data": ["--train.tasks", "blimp"],
    "a rate that breaks the first step": ["--optim.lr", "1e38", "--train.warmup", "0", "--train.steps", "1"],
}


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("flags", FAILING.values(), ids=list(FAILING))
def test_the_name_stays_free(capsys, monkeypatch, flags):
    monkeypatch.delenv("STLM_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    own_tracker("made", made="raise OSError('no such server')")
    own_tracker("begin", begin="raise OSError('no such server')")
    status, _, err = stlm(capsys, *TRAIN, *flags)
    assert status == 2 and err.count("stlm: ") == 1 and "Traceback" not in err
    assert not Path("runs/mine").exists()
    assert stlm(capsys, *TRAIN)[0] == 0


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("when", ["cli.train.build_run", "train.loop.Trainer.advance", "train.start._check_disk"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory"), KeyboardInterrupt(),
                                   ZeroDivisionError("mine")], ids=lambda error: type(error).__name__)
def test_whatever_ends_the_start(capsys, monkeypatch, when, error):
    with monkeypatch.context() as patch:
        patch.setattr(f"stlm.{when}", refuse(error))
        if isinstance(error, ZeroDivisionError):  # a fault in a part of the user's own
            with pytest.raises(ZeroDivisionError):
                stlm(capsys, *TRAIN)
        else:
            assert stlm(capsys, *TRAIN)[0] in (2, 130)
    assert not Path("runs/mine").exists()


@pytest.mark.usefixtures("no_report")
def test_a_start_that_was_killed(capsys):
    """Its decisions were measured for another model."""
    Path("runs/mine").mkdir(parents=True)
    decided = {"precision": "fp32", "compile": False, "flops_per_byte": 7.0, "peak_flops": 1e11}
    Path("runs/mine/env.json").write_text(json.dumps({"decided": decided}))
    assert stlm(capsys, *TRAIN)[0] == 0
    assert json.loads(Path("runs/mine/env.json").read_text())["decided"]["flops_per_byte"] > 1000


@pytest.mark.usefixtures("no_report")
def test_a_run_that_has_trained_is_kept(capsys, monkeypatch):
    advance = Trainer.advance

    def fails_later(trainer):
        if trainer.step == 2:
            raise ZeroDivisionError("mine")
        advance(trainer)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", fails_later)
        with pytest.raises(ZeroDivisionError):
            stlm(capsys, *TRAIN, "--train.log-every", "1")
    assert len(Path("runs/mine/metrics.jsonl").read_text().splitlines()) == 2
    assert "exists already; continue it with --resume" in stlm(capsys, *TRAIN)[2]
    assert stlm(capsys, *TRAIN, "--resume")[0] == 0


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("flags", [["--train.trackers", "tensorbord"], ["--train.tasks", "wrld"],
                                   ["--train.trackers", "own.tracker"]], ids=str)
def test_a_continuation_that_fails_changes_nothing(capsys, trained_here, flags):
    own_tracker(begin="raise OSError('no server')")
    before = snapshot(Path("runs"))
    assert stlm(capsys, *TRAIN[:-2], "--train.steps", "6", "--resume", *flags)[0] == 2
    assert snapshot(Path("runs")) == before


@pytest.fixture
def trained_here(capsys, no_report):
    assert stlm(capsys, *TRAIN)[0] == 0


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(("flags", "free", "more"), [
    ([], 1e4, 1), (["--train.checkpoint-every", "2"], 1e5, 2),
    (["--train.checkpoint-every", "1", "--train.keep", "1"], 1e5, 2),
    (["--optim", "soap", "--model.embedding", "tokens", "--model.copying", "none"], 1.6e5, 1)])  # it remembers more than two
def test_a_disk_without_room(capsys, monkeypatch, flags, free, more):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    err = stlm(capsys, *TRAIN, *flags)[2]
    assert f"{more} checkpoint{'s' * (more > 1)} of" in err and "free some space" in err
    assert not Path("runs/mine").exists()


@pytest.mark.parametrize("blocked", ["runs", "runs/mine"])
def test_a_folder_that_cannot_be_made_is_told_before_the_text_is_read(capsys, monkeypatch, blocked):
    monkeypatch.setattr("stlm.cli.train.open_corpus", refuse(AssertionError("the text was read")))
    Path(blocked).parent.mkdir(exist_ok=True)
    Path(blocked).write_text("a file")
    assert "is no folder" in stlm(capsys, *TRAIN)[2]


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("flags", [["--train.tasks", "wrld"], ["--train.trackers", "tensorbord"],
                                   ["--train.init-from", "nowhere"]], ids=str)
def test_what_can_be_known_is_told_before_the_text_is_read(capsys, monkeypatch, flags):
    monkeypatch.setattr("stlm.cli.train.open_corpus", refuse(AssertionError("the text was read")))
    assert stlm(capsys, *TRAIN, *flags)[0] == 2


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("part", ["log", "end"])
def test_a_tracker_that_fails_later(capsys, part):
    own_tracker(**{part: "raise ConnectionError('the network is gone')"})
    status, _, err = stlm(capsys, *TRAIN, "--train.trackers", "own.tracker", "--train.log-every", "1")
    assert status == 0 and Path("runs/mine/results.json").exists()
    assert err.count("the tracker own.tracker failed (the network is gone); the run goes on without it") == 1


def fake_wandb(monkeypatch, mode: str, **fails: Exception) -> list[str]:
    """A module in the place of wandb. fails: errors that its functions raise. Returns the functions' names as they're called.
    """
    called = list[str]()

    def work(name):
        def function(*about, **more):
            called.append(name)
            if name in fails:
                raise fails[name]
            return run
        return function

    run = SimpleNamespace(log=work("log"), finish=work("finish"))
    module = SimpleNamespace(setup=lambda: SimpleNamespace(settings=SimpleNamespace(mode=mode)), login=work("login"),
                             init=work("init"))
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setitem(sys.modules, "stlm.train.trackers.wandb", None)
    del sys.modules["stlm.train.trackers.wandb"]  # it is imported anew, and forgotten after the test
    return called


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(("mode", "fails", "calls", "said"), [
    ("online", {"login": ValueError("No API key configured.\nUse it.")}, ["login"],
     "wandb can't log in (No API key configured. Use it.); log in with `wandb login`, or set WANDB_MODE=offline"),
    ("online", {"login": TimeoutError()}, ["login"], "wandb can't log in (TimeoutError); log in with"),
    ("online", {"init": OSError("no such entity")}, ["login", "init"], "the tracker wandb can't begin (no such entity)")])
def test_wandb_that_cannot_begin(capsys, monkeypatch, mode, fails, calls, said):
    called = fake_wandb(monkeypatch, mode, **fails)
    status, _, err = stlm(capsys, *TRAIN, "--train.trackers", "wandb")
    assert status == 2 and said in err and called == calls and not Path("runs/mine").exists()


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(("mode", "fails", "calls"), [
    ("offline", {}, ["init", "log", "log", "log", "finish"]),
    ("disabled", {"login": ValueError("no key")}, ["init", "log", "log", "log", "finish"]),
    ("online", {"log": OSError("network")}, ["login", "init", "log"]),
    ("online", {"finish": OSError("network")}, ["login", "init", "log", "log", "log", "finish"])])
def test_wandb_that_trains(capsys, monkeypatch, mode, fails, calls):
    called = fake_wandb(monkeypatch, mode, **fails)
    status, _, err = stlm(capsys, *TRAIN, "--train.trackers", "wandb", "--train.log-every", "2")
    assert status == 0 and called == calls
    assert ("the run goes on without it" in err) == bool(fails.keys() - {"login"})


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("error", ["ValueError('mine')", "MemoryError()",
                                   "__import__('stlm.errors').errors.UserError('no model here')"])
def test_a_task_that_fails_later(capsys, error):
    Path("own").mkdir()
    Path("own/task.py").write_text("from stlm.evaluate.task.bits import Config as Bits\nclass Config(Bits):\n"
                                   f"    def run(self, context): raise {error}\n")
    sys.modules.pop("own.task", None)
    status, _, err = stlm(capsys, *TRAIN, "--train.tasks", "own.task", "--train.tasks-every", "1")
    assert status == 0 and Path("runs/mine/results.json").exists()
    assert err.count("scoring of --train.tasks failed (") == 1


@pytest.mark.parametrize(("place", "error"), [
    ("render", ModuleNotFoundError("No module named 'jinja2'")),
    ("drawing", ModuleNotFoundError("No module named 'matplotlib'")),
    ("drawing", ValueError("a broken\nfont")), ("write_whole", OSError(errno.ENOSPC, "No space left on device")),
    ("patch_marks.marks", RecursionError())], ids=str)
def test_a_report_that_fails(capsys, monkeypatch, place, error):
    monkeypatch.setattr(f"stlm.report.run_page.{place}", refuse(error))
    monkeypatch.setattr("stlm.cli.train.check_fits", lambda *about: None)
    monkeypatch.setattr("stlm.cli.train.Samples", lambda show: Samples(show, 9))
    status, _, err = stlm(capsys, *TRAIN, "--train.log-every", "1")
    assert status == 0 and "report:  not written (" in err and "everything else is saved" in err
    assert json.loads(Path("runs/mine/results.json").read_text())["steps"] == 4
