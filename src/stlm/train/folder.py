"""The folder of a run: ``config.json  env.json  metrics.jsonl  results.json  report.html  checkpoints/step_*  best/step_*``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stlm.config.decode import encode
from stlm.config.files import decode_record, read_json, read_table, strict_json
from stlm.config.suggest import did_you_mean
from stlm.config.writing import append_lines, to_json, write_json, write_whole
from stlm.errors import UserError
from stlm.train.checkpoint import TRAINER, Checkpoint, checkpoint_of, list_checkpoints, open_checkpoint
from stlm.train.lock import Held, hold, is_held
from stlm.train.older import in_todays_words
from stlm.train.run_config import RunConfig

RUNS, MODELS = Path("runs"), Path("models")
BITS = "val/bits_per_byte"  # of all held-out text, at the end
EXCERPT_BITS = "val/excerpt_bits_per_byte"  # of the first part of the held-out text, during training
EXCERPT_BYTES = "val/excerpt_bytes"  # of that part
SHIPPED = Path(__file__).parents[3] / "models"  # beside the source code, if stlm was installed from a clone


class RunFolder:
    """Paths and records of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.best = path / "best"
        self.report = path / "report.html"
        self.samples = path / "samples.jsonl"
        self.metrics = path / "metrics.jsonl"
        self.results = path / "results.json"
        self.env = path / "env.json"
        self._config = path / "config.json"
        self._lock = path / ".lock"
        self._held: Held | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether a run is there. A start that failed leaves none."""
        return self._config.exists() or bool(list_checkpoints(self.checkpoints))

    def config(self) -> RunConfig:
        return decode_record(RunConfig, in_todays_words(read_json(self._config)), str(self._config))

    def create(self, config: RunConfig) -> None:
        """Create the folder and write the description."""
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: the run's folder cannot be written: {error.strerror}") from None
        write_json(self._config, encode(config))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A context in which no other process can train in this folder."""
        with hold(self._lock, self.path) as held:
            self._held = held
            try:
                yield
            finally:
                self._held = None

    @property
    def busy(self) -> bool:
        """Whether a process is training in this folder."""
        return is_held(self._lock)

    def check_own(self) -> None:
        """UserError if this process has locked the folder, and the folder was deleted or made anew since."""
        if self._held is not None and not self._held.in_place(self._lock):
            raise UserError(f"{self.path}: this folder was deleted or replaced while the run was training in it, so nothing "
                            "more is written; start the run again")

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint, opened; None if there is none yet."""
        saved = list_checkpoints(self.checkpoints)
        return open_checkpoint(saved[-1]) if saved else None

    def usable(self) -> Checkpoint | None:
        """The checkpoint to use: the one that the run's results are of, the last or the best. While a run isn't finished, it is
        the newest. None if there is none yet.
        """
        saved = list_checkpoints(self.checkpoints)
        if not saved:
            return None
        found: dict[str, Any] = {}
        with contextlib.suppress(UserError):  # a damaged record of results is no fault of the weights
            found = read_table(self.results)
        step, steps = found.get("weights_of_step"), found.get("steps")
        if not isinstance(step, int) or not isinstance(steps, int) or step == steps:
            return open_checkpoint(saved[-1])
        if saved[-1] != checkpoint_of(self.checkpoints, steps):  # it was trained further since
            return open_checkpoint(saved[-1])
        best = checkpoint_of(self.best, step)
        if not best.is_dir():
            raise UserError(f"{best}: the results of this run are of these weights, which are missing; to use the last ones, "
                            f"name {saved[-1]}")
        return open_checkpoint(best)

    def append(self, path: Path, record: dict[str, Any]) -> None:
        """Add one line to a JSON-lines file."""
        self.check_own()
        try:
            append_lines(path, [record])
        except UserError as error:
            raise UserError(f"{error}; free some space and continue with --resume") from None

    def rewind(self, step: int) -> None:
        """Delete records after ``step``, because a run that continues from there records them again."""
        for path in (self.metrics, self.samples):
            if path.exists():
                write_whole(path, "".join(to_json(record) + "\n" for record in read_steps(path) if record["step"] <= step))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a JSON-lines file. What is no record is left out, such as a last line that is incomplete because its writer
    was killed.
    """
    records = []
    try:
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            records.append(strict_json(line))
    return [record for record in records if isinstance(record, dict)]


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The same for ``metrics.jsonl`` and ``samples.jsonl``, whose records all have a step."""
    return [record for record in read_lines(path) if type(record.get("step")) is int]


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The figures of a run, in the order of its steps. Records that lack what was spent, or hold no numbers, are left out."""
    return [record for record in read_steps(path) if all(type(value) in (int, float) for value in record.values())
            and {"bytes", "seconds", "flops"} <= record.keys()]


def places_of(name: str) -> list[Path]:
    """Paths at which a run or a model of that name may be."""
    return [Path(name), RUNS / name, MODELS / name, SHIPPED / name]


def names_of_models() -> list[str]:
    """The names of all runs and published models that are here."""
    return sorted({path.name for parent in (RUNS, MODELS, SHIPPED) if parent.is_dir() for path in parent.iterdir()
                   if path.is_dir()})


def find_checkpoint(name: str) -> Checkpoint:
    """The checkpoint of ``name``, opened and verified. ``name`` is a run's name or folder, the folder of a checkpoint or of
    several (then it is the newest), or the name of a published model.
    """
    for path in places_of(name):
        if (path / TRAINER).exists():
            return open_checkpoint(path)
        if (path / "checkpoints").is_dir():
            checkpoint = RunFolder(path).usable()
            if checkpoint is None:
                raise UserError(f"{path}: this run has no checkpoint yet; train it first")
            return checkpoint
        if saved := list_checkpoints(path):
            return open_checkpoint(saved[-1])
    found = names_of_models()
    hint = f"the runs here are {', '.join(found)}" if found else "`stlm train demo` makes one"
    if Path(name).is_dir():
        raise UserError(f"{name}: neither a run nor a checkpoint of stlm; {hint}")
    raise UserError(f"there is no run {name!r}{did_you_mean(name, found)}; {hint}")
