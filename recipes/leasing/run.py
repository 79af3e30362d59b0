"""Minutes of a GPU: measure, train, score, and bring back what there is, whatever happens."""

from __future__ import annotations

import os
import re
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leasing import BENCHMARKS, PACKAGES, TASKS, TEXT
from leasing.child import MEASURE, STLM, Child, stop_all
from leasing.output import Output
from leasing.plan import Plan, clock
from stlm.config.files import read_json
from stlm.config.writing import to_json
from stlm.errors import UserError

RUNS = Path("runs")
# steps that suit a large GPU. The rate of 10m is for such steps (recipes/batch_rates.py); the others have theirs
ALL_ON_GPU = "--train.seq-len 2048 --train.warmup 300 --train.precision bf16 "
ON_GPU = {preset: (ALL_ON_GPU + flags).split() for preset, flags in {
    "10m": "--train.batch-size 128 --optim.lr 4e-3", "50m": "--train.batch-size 64", "100m": "--train.batch-size 64"}.items()}
TOLD = 15.0  # seconds between lines about the training
REFRESH = 5.0  # seconds between looks at what there is to keep
BROUGHT = 90.0  # seconds between copies of the weights during training
READY, READY_CPU = 45.0, 4.0  # seconds until the first step of a run, where none was measured
BESIDE = 1.06  # seconds of a run per second of its steps: looks at held-out text, samples, checkpoints
COMPILING = 45.0  # seconds beyond those for measuring, for the compiled ways of the preset that is trained
PAGE, COMPRESSED = 2.0, 0.5e6  # seconds to draw the page of a run; bytes a second that compressors read
SHORTEST = 1.0  # seconds that a training has to have
QUICK = 500  # items of each benchmark that are scored first, so that there is a score


class Lease:
    """One use of a machine. started: the time by `time.monotonic` from which the minutes count."""

    scratch: Path

    def __init__(self, out: Path, minutes: float, measured: Sequence[str], trained: str | None, data: str | None, bring: float,
                 flags: Sequence[str], started: float) -> None:
        if not minutes > 0:
            raise UserError(f"--minutes {minutes:g}: give a number above 0")
        if trained is None and not measured:
            raise UserError("--train none --measure none: nothing is left to do; name a preset for one of them")
        self.started, self.output, self.flags = started, Output(out, bring), list(flags)
        self.measured, self.trained = list(measured), trained
        self.plan = Plan.of(60 * minutes, bool(measured), trained is not None)
        texts = sorted(str(path) for path in TEXT.iterdir()) if TEXT.is_dir() else []
        self.data = data or ",".join(texts) or "world"
        self.events: list[str] = []
        self.figures: list[dict[str, Any]] = []
        self.machine: dict[str, Any] = {}
        self._looked = self._told = self._brought = 0.0
        self._brought_step = -1
        self._bringing: tuple[Child, Path, int] | None = None

    # --- the clock and the record

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def until(self, second: float) -> float:
        """That second of the lease, as a time of `time.monotonic`."""
        return self.started + second

    def say(self, line: str) -> None:
        """Print a line with the time, and keep it."""
        self.events.append(f"{clock(self.now)}  {line}")
        print(self.events[-1], flush=True)

    def save(self) -> None:
        """Write everything that is known so far."""
        record = {"plan": str(self.plan), "machine": self.machine, "speed": self.figures, "events": self.events}
        self.output.keep("lease.json", (to_json(record, indent=1) + "\n").encode())
        for log in self.scratch.glob("*.log"):
            self.output.keep(f"logs/{log.name}", log)
        self.output.save()

    def child(self, name: str, words: Sequence[str]) -> Child:
        return Child(words, self.scratch / f"{name}.log")

    # --- the parts

    def run(self) -> int:
        """All parts. Returns the exit status: 0 if a training was scored, or if there was none and something was measured."""
        with tempfile.TemporaryDirectory(prefix="stlm-lease-") as scratch:
            self.scratch = Path(scratch)
            try:
                done = self._parts()
                self.say(f"finished; what comes back is in {self.output.folder}")
                return 0 if done else 1
            except UserError as error:
                self.say(f"ended: {error}")
                return 2
            finally:
                stop_all()
                self.save()

    def _parts(self) -> bool:
        self.say(str(self.plan))
        self._prepare()
        self._measure()
        if self.trained is None:
            return bool(self.figures)
        folder = self._train(self.trained)
        self._score(folder)
        return self._summary(folder)

    def _prepare(self) -> None:
        """Look at the machine and at the words of the command, and read the text into the cache."""
        for wheel in PACKAGES.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(PACKAGES)
        preset = self.trained or self.measured[0]
        record = self.scratch / "look.json"
        child = self.child("look", [*MEASURE, "look", str(record), preset, "--data", self.data, *self.flags])
        status = child.wait(self.until(0.6 * self.plan.trained))
        if status is None:
            raise UserError(f"preparing the text took over {self.now:.0f} s; give more --minutes or less text")
        if status:
            raise UserError(child.last_line() + _missing(child.last_line()))
        self.machine = read_json(record)
        train, held_out = (self.machine[f"{split}_bytes"] / 1e6 for split in ("train", "held_out"))
        self.say("{device}, torch {torch}, {cores} cores".format(**self.machine)
                 + f"; {train:.1f} MB of text to train on, {held_out:.2f} MB held out")
        self.save()

    def _flags_of(self, preset: str, found: Sequence[str] = ()) -> list[str]:
        """Flags of ``stlm train`` for a preset on this machine. found: those that measurements have found. What the user gave
        for the preset that is trained comes last, so it counts.
        """
        return ["--data", self.data, *(ON_GPU.get(preset, []) if self.machine["cuda"] else []), *found,
                *(self.flags if preset == (self.trained or preset) else [])]

    def _measure(self) -> None:
        """Time all presets in eager mode, then the other ways, first those of the preset that is trained. These may take
        longer, because the training gains from what they find and what they compile.
        """
        eager, *others = sorted(self.machine["ways"], key=lambda way: way != "off")
        end = min(self.now + self.plan.measuring, self.plan.scored)
        ordered = sorted(self.measured, key=lambda preset: preset != self.trained)
        todo = [(preset, way) for ways in ([eager], others) for preset in ordered for way in ways]
        waiting: Child | None = None  # has imported everything when its turn comes
        for number, (preset, way) in enumerate(todo):
            left = end - self.now + (min(COMPILING, 0.1 * self.plan.end) if preset == self.trained and way != eager else 0)
            if left < 1:
                self.say(f"no time to measure {', '.join(f'{preset} {way}' for preset, way in todo[number:])}")
                break
            child = waiting or self._measuring(preset, way)
            waiting = self._measuring(*todo[number + 1]) if number + 1 < len(todo) else None
            # in eager mode all get their share; what compiles may take what is left, because the training needs it anyway
            share = left / sum(way == eager for _, way in todo[number:]) if way == eager else left
            child.go()
            status = child.wait(self.until(self.now + share), self._watch, settle=0.0)
            self._take(preset, way, child, status)
        stop_all()

    def _measuring(self, preset: str, way: str) -> Child:
        name = f"speed-{Path(preset).stem}-{way}"
        words = [*MEASURE, "speed", str(self.scratch / f"{name}.json"), preset, *self._flags_of(preset), "--train.compile", way]
        return self.child(name, words)

    def _take(self, preset: str, way: str, child: Child, status: int | None) -> None:
        """Read what a measurement has written. It may have been ended before its profile."""
        record = child.log.with_suffix(".json")
        if not record.exists():
            why = "out of time" if status is None else child.last_line()
            self.say(f"{preset}, compile {way}: not measured ({why}){_missing(why)}")
            return
        figures = {"preset": preset, "compile": way, **read_json(record)}
        self.figures.append(figures)
        about = figures.get("profile", {})
        kernels = f"; {about['kernels']:,.0f} kernels a step, GPU busy {about['busy']:.0%}" if about.get("kernels") else ""
        waits = f", {sum(about['waits'].values()):g} waits" if about.get("waits") else ""
        parts = f" in {figures['grad_accum']} parts" if figures["grad_accum"] > 1 else ""
        self.say(f"{preset}, compile {way}: {figures['bytes_per_second'] / 1e6:.3f} MB/s, MFU {figures['mfu']:.1%}, "
                 f"{figures['milliseconds']:.0f} ms a step of {figures['seq_len'] * figures['batch_size']:,} tokens{parts}, "
                 f"{figures['peak_gigabytes']:.1f} GB{kernels}{waits}")
        self.save()

    def _watch(self) -> None:
        if self.now - self._looked > REFRESH:
            self._looked = self.now
            self.save()

    def _train(self, preset: str) -> Path:
        """Train until the plan says so. Returns the run's folder."""
        found = sorted((figures for figures in self.figures if figures["preset"] == preset),
                       key=lambda figures: figures["bytes_per_second"], reverse=True)
        best, ready = next(iter(found), None), READY if self.machine["cuda"] else READY_CPU
        if found:  # what was compiled is kept, so the second time takes less
            ready = 3 + (best["ready_seconds"] + min(figures["ready_seconds"] for figures in found)) / 2
        closing = self._closing(best)
        seconds = (self.plan.trained - self.now - ready - closing) / BESIDE
        if seconds < SHORTEST:
            raise UserError(f"{self.now:.0f} s are over, so nothing is left for the training; give more --minutes, less text, "
                            "or --measure none")
        name = next(name for n in range(1, 10_000) if not (RUNS / (name := f"lease-{Path(preset).stem}-{n}")).exists())
        words = ["train", preset, "--name", name, *self._flags_of(preset, _cadence(best)),
                 "--train.minutes", f"{seconds / 60:.3f}"]
        self.say(f"training {preset} for {seconds:.0f} s: stlm {' '.join(words)}")
        folder = RUNS / name
        for kept in ("config.json", "env.json", "metrics.jsonl", "samples.jsonl", "results.json", "report.html"):
            self.output.keep(kept, folder / kept)
        child = self.child("train", [*STLM, *words])
        late = self.plan.trained + 0.4 * (self.plan.scored - self.plan.trained)
        status = child.wait(self.until(late), lambda: self._look_at_training(child, folder))
        if status is None:
            self.say("the training was stopped late, without its own score")
        elif status:
            self.say(f"the training failed: {child.last_line()}")
        self._end_bringing(self.now + 20)
        self.save()
        return folder

    def _closing(self, best: dict[str, Any] | None) -> float:
        """Seconds that a run takes for its own score, for the compressors' figures, and for its page. Scoring a text is at
        least twice as fast as learning from it.
        """
        n_bytes = self.machine["held_out_bytes"]
        return PAGE + n_bytes / COMPRESSED + (n_bytes / best["bytes_per_second"] / 2 if best else 0.0)

    def _look_at_training(self, child: Child, folder: Path) -> None:
        self._watch()
        if self.now - self._told > TOLD:
            self._told = self.now
            if child.last_line() not in self.events[-1]:
                self.say(child.last_line())
        if self._bringing is not None and self._bringing[0].ended:
            self._end_bringing(self.now)
        step = _last_step(folder)
        if self._bringing is None and step > self._brought_step and self.now - self._brought > BROUGHT:
            self._begin_bringing(folder, step)

    # --- weights

    def _begin_bringing(self, folder: Path, step: int) -> None:
        """Publish the newest checkpoint, beside the training."""
        self._brought, target = self.now, self.scratch / f"model-{step}"
        child = self.child(f"publish-{step}", [*STLM, "publish", folder.name, str(target)])
        self._bringing = child, target, step

    def _end_bringing(self, until: float) -> None:
        """Keep the weights that are being published, if that ends before that second of the lease."""
        if self._bringing is None:
            return
        (child, target, step), self._bringing = self._bringing, None
        status = child.wait(self.until(until))
        if status == 0:
            self._brought_step = step
            self.say(self.output.save_model(target, step))
        else:
            self.say(f"weights of step {step}: " + ("out of time" if status is None else child.last_line()))

    # --- scores

    def _score(self, folder: Path) -> None:
        """Bring the last weights, then score as much as there is time for."""
        step = _last_step(folder)
        if step < 0:
            self.say("there is no checkpoint, so nothing can be scored")
            return
        if step > self._brought_step:
            self._begin_bringing(folder, step)
            self._end_bringing(self.plan.scored)
        self.output.keep("eval/results.json", folder / "eval" / "results.json")
        if not (folder / "results.json").exists():
            self._eval(folder, "held-out text", ["--tasks", "bits"], share=0.5)
        benchmarks = ["--data", str(BENCHMARKS)] if BENCHMARKS.is_dir() else []
        if benchmarks or os.environ.get("STLM_DATA"):
            for limit in ([f"--limit={QUICK}"], []):
                self._eval(folder, f"benchmarks{', first items' if limit else ', all items'}",
                           ["--tasks", ",".join(TASKS), *benchmarks, *limit])

    def _summary(self, folder: Path) -> bool:
        """Say how good the model is. Returns whether that is known."""
        scores = read_json(folder / "eval" / "results.json")["results"] if (folder / "eval" / "results.json").exists() else {}
        if (folder / "results.json").exists():
            found = read_json(folder / "results.json")
            self.say(f"{found['val/bits_per_byte']:.4f} bits per byte of held-out text after {found['steps']:,} steps, "
                     f"{found['trained_bytes'] / 1e6:,.0f} MB and {found['seconds']:.0f} s")
        elif "bits" in scores:
            self.say(f"{scores['bits']['bits_per_byte,none']:.4f} bits per byte of held-out text; the run was stopped early")
        else:
            return False
        for task in TASKS:
            if task in scores:
                self.say(f"{task}: {scores[task]['acc,none']:.1%} of {scores[task]['n']:,} items")
        return True

    def _eval(self, folder: Path, what: str, words: list[str], share: float = 1.0) -> None:
        """Score. share: of the time that is left, at most."""
        if self.plan.scored - self.now < 2:
            self.say(f"{what}: no time to score")
            return
        child = self.child(f"eval-{len(self.events)}", [*STLM, "eval", folder.name, *words])
        status = child.wait(self.until(self.now + share * (self.plan.scored - self.now)), self._watch, settle=1.0)
        self.say(f"{what}: " + ("scored" if status == 0 else "out of time" if status is None else child.last_line()))
        self.save()


def _cadence(best: dict[str, Any] | None) -> list[str]:
    """How often a run looks at held-out text, writes a sample and saves, by its measured speed: about every half, two and one
    minute. Without a measurement the preset decides.
    """
    if best is None:
        return []
    a_minute = 60e3 / best["milliseconds"]
    steps = {"evaluate-every": a_minute / 2, "sample-every": 2 * a_minute, "checkpoint-every": a_minute}
    words = [word for name, value in steps.items() for word in (f"--train.{name}", str(max(1, round(value))))]
    return [*words, "--train.grad-accum", str(best["grad_accum"]), "--train.compile", best["compile"]]


def _last_step(folder: Path) -> int:
    """The step of the newest checkpoint; -1 if there is none."""
    return max((int(path.name[5:]) for path in (folder / "checkpoints").glob("step_*") if path.name[5:].isdigit()), default=-1)


def _missing(line: str) -> str:
    """What to do about a missing package, if a line says that one is missing."""
    found = re.search(r"No module named '(\w+)", line)
    return f"; pack it: python recipes/lease.py pack --packages {found[1]}" if found else ""
