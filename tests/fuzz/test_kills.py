"""SIGKILL and a full disk at any instant: no half file gets its final name, and the same command, given again, does its work.

The disk is full from an instant on, because the process may then write nothing more to any file (its ``RLIMIT_FSIZE`` is 0).
Commands run in copies of this process (fork), so that they needn't import everything first. Comparisons start processes of
their own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors

from stlm.cli import main
from stlm.evaluate.archive import SUM, _sum
from stlm.train.checkpoint import TRAINER, UNFINISHED, open_checkpoint
from stlm.train.folder import RunFolder
from tests.cli.conftest import TINY, make_quick, make_small
from tests.fuzz.watch import call, hunting

LONGEST = 240  # seconds; on a busy machine an undisturbed command may take a minute
TEXT = "Anna wanted to find her red kite, and the dog lay by door %d in the rain for %d days.\n"
VERBS = {
    "train": ["train", "tiny.toml", "--name", "new", "--resume", "--data", "text.txt", "--train.steps", "6",
              "--train.checkpoint-every", "2", "--train.evaluate-every", "1"],
    "eval": ["eval", "mine", "--tasks", "bits,world", "--limit", "9", "--output", "scores"],
    "zip": ["zip", "mine", "letter.txt", "-o", "letter.stlm"],
    "publish": ["publish", "mine", "small"],
}
RECIPE = """
from stlm.compare.recipe import Recipe
RECIPE = Recipe(question="Which is better?", rule="The smaller mean.", equal="steps", amount=4, every="--data text.txt",
                arms={"one": "tiny.toml", "two": "tiny.toml --model.layers 2"}, baseline="one", seeds=(0, 1))
"""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended. status: negative if a signal ended it. took: seconds."""

    status: int
    said: str
    took: float


def copy_of_this_process(words: list[str], folder: Path, disturb: Callable[[int], None], after: float) -> Ended:
    """Run a command in a fork, and call ``disturb`` with its process id after so many seconds."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads of this process don't matter: the copy has none
        process = os.fork()
    if not process:
        status = 1
        try:
            os.dup2(writes, 1)
            os.dup2(writes, 2)
            sys.stdout = sys.stderr = open(writes, "w", closefd=False)
            os.chdir(folder)
            status = main(words)
        finally:
            os._exit(status)
    os.close(writes)
    start, said, disturbed = time.perf_counter(), b"", False
    while (left := start + LONGEST - time.perf_counter()) > 0:
        wait = left if disturbed else max(0.0, start + after - time.perf_counter())
        if select.select([reads], [], [], wait)[0]:
            if not (more := os.read(reads, 1 << 16)):
                break
            said += more
        elif not disturbed:
            disturbed = True
            disturb(process)
    else:
        os.kill(process, signal.SIGKILL)
    os.close(reads)
    return Ended(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said.decode(), time.perf_counter() - start)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def fill_disk(process: int) -> None:
    resource.prlimit(process, resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def faults_in(folder: Path) -> list[str]:
    """Files with a final name that are only half there."""
    faults = []
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(UNFINISHED) for part in path.relative_to(folder).parts):
            continue
        try:
            _look_at(path)
        except Exception as error:
            faults.append(f"{path.relative_to(folder)}: {error}")
    return faults


def _look_at(path: Path) -> None:
    if path.name == TRAINER or path.name.startswith("step_"):
        open_checkpoint(path if path.is_dir() else path.parent)
    elif path.suffix == ".json":
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in {path}"))
    elif path.suffix == ".jsonl":
        for line in path.read_text().splitlines()[:-1]:  # the last one may be half there: readers know
            json.loads(line)
    elif path.suffix == ".safetensors":
        with safetensors.safe_open(path, "pt"):
            pass
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")
    elif path.suffix == ".stlm":
        packed = path.read_bytes()
        assert _sum(packed[:-SUM]) == packed[-SUM:]


def finished(verb: str, folder: Path) -> bool:
    """Whether a command had done all of its work when it ended. Some commands then refuse to do it again."""
    return {"zip": folder / "letter.stlm", "publish": folder / "models" / "small" / TRAINER}.get(verb, folder / "none").exists()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with text and a small run, which each case copies."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "tiny.toml").write_text(TINY)
    (folder / "text.txt").write_text("".join(TEXT % (i % 7, i) for i in range(200)))
    (folder / "letter.txt").write_text(TEXT % (3, 4))
    (folder / "recipe.py").write_text(RECIPE)
    with open(folder / "tiny.toml", "a") as file:
        file.write('averaging = {kind = "ema", decay = 0.9}\n')
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        make_quick(patch)
        done = call(["train", "tiny.toml", "--name", "mine", "--data", "text.txt", "--train.steps", "2"], folder)
        assert done.status == 0, done
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    make_small(monkeypatch)
    make_quick(monkeypatch)


@pytest.fixture(scope="module")
def usual() -> dict[str, float]:
    """Seconds that each verb takes undisturbed, once one was measured."""
    return {}


def disturbed(verb: str, number: int, disturb: Callable[[int], None], home: Path, folder: Path,
              usual: dict[str, float]) -> Ended:
    """A command that is disturbed at a random instant, in a copy of ``home``."""
    words = VERBS[verb]
    if verb not in usual:
        shutil.copytree(home, folder / "undisturbed")
        whole = copy_of_this_process(words, folder / "undisturbed", lambda process: None, LONGEST)
        assert whole.status == 0, whole
        assert faults_in(folder / "undisturbed") == []
        usual[verb] = whole.took
    shutil.copytree(home, folder / "here")
    after = random.Random(f"{verb} {number} {disturb.__name__}").uniform(0, usual[verb])
    ended = copy_of_this_process(words, folder / "here", disturb, after)
    assert faults_in(folder / "here") == []
    if not finished(verb, folder / "here"):
        again = call(words, folder / "here")
        assert again.status == 0 and not again.faults, again
        assert faults_in(folder / "here") == []
    if verb == "train":
        assert RunFolder(folder / "here" / "runs" / "new").latest().counters["step"] == 6
    return ended


TIMES = 20 if hunting() else 4
NUMBERS = [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, TIMES))]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_kill(verb, number, home, tmp_path, usual):
    assert disturbed(verb, number, kill, home, tmp_path, usual).status in (0, -signal.SIGKILL)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk(verb, number, home, tmp_path, usual):
    ended = disturbed(verb, number, fill_disk, home, tmp_path, usual)
    assert ended.status in (0, 2) and "Traceback" not in ended.said, ended


def family(process: int) -> list[int]:
    """A process and all that it has started."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    found = [process]
    for one in found:
        found += parents.get(one, [])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("disturb", [kill, fill_disk])
def test_comparisons(disturb, home, tmp_path):
    """Each goes on where the one before was disturbed. Kills hit the comparison alone or everything that it has started."""
    folder, draw, cut = tmp_path / "here", random.Random(disturb.__name__), 0
    shutil.copytree(home, folder)
    command = [sys.executable, "-m", "stlm", "compare", "recipe.py"]
    for number in range(TIMES):
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(draw.uniform(2, 12))
        for one in family(process.pid)[:1 if disturb is kill and number % 2 else None]:
            try:
                disturb(one)
            except ProcessLookupError:
                continue
        said = process.communicate(timeout=300)[1]
        cut += process.returncode != 0
        assert process.returncode in ((0, -signal.SIGKILL) if disturb is kill else (0, 2)) and "Traceback" not in said, said
        assert faults_in(folder) == []
        if process.returncode == 0:
            shutil.rmtree(folder)
            shutil.copytree(home, folder)
    assert cut >= TIMES // 2, f"only {cut} of {TIMES} comparisons were still running"
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    record = json.loads((folder / "results" / "recipe" / "results.json").read_text())
    assert {arm: found["n"] for arm, found in record["arms"].items()} == {"one": 2, "two": 2}
