"""The folder of a run: ``config.json  env.json  metrics.jsonl  report.html  checkpoints/step_*``."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stlm.config.decode import decode, encode
from stlm.config.files import read_json
from stlm.config.suggest import did_you_mean
from stlm.config.writing import append_lines, to_json, write_json, write_whole
from stlm.errors import UserError
from stlm.train.checkpoint import TRAINER, Checkpoint, list_checkpoints, open_checkpoint
from stlm.train.run_config import RunConfig

RUNS, MODELS = Path("runs"), Path("models")
BITS = "val/bits_per_byte"  # of all held-out text, at the end
EXCERPT_BITS = "val/excerpt_bits_per_byte"  # of the first part of the held-out text, during training
SHIPPED = Path(__file__).parents[3] / "models"  # beside the source code, if stlm was installed from a clone


class RunFolder:
    """Paths and records of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.report = path / "report.html"
        self.samples = path / "samples.jsonl"
        self.metrics = path / "metrics.jsonl"
        self.env = path / "env.json"
        self._config = path / "config.json"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether a run is there. A start that failed leaves none."""
        return self._config.exists() or bool(list_checkpoints(self.checkpoints))

    def config(self) -> RunConfig:
        return decode(RunConfig, read_json(self._config), where=str(self._config))

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
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{self.path}: another process is training this run; wait for it, "
                                "or choose another --name") from None
            yield

    @property
    def busy(self) -> bool:
        """Whether a process is training in this folder."""
        if not (self.path / ".lock").exists():
            return False
        try:
            with self.locked():
                return False
        except UserError:
            return True

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint, opened; None if there is none yet."""
        saved = list_checkpoints(self.checkpoints)
        return open_checkpoint(saved[-1]) if saved else None

    def append(self, path: Path, record: dict[str, Any]) -> None:
        """Add one line to a JSON-lines file."""
        try:
            append_lines(path, [record])
        except UserError as error:
            raise UserError(f"{error}; free some space and continue with --resume") from None

    def rewind(self, step: int) -> None:
        """Delete records after ``step``, because a run that continues from there records them again."""
        for path in (self.metrics, self.samples):
            if path.exists():
                write_whole(path, "".join(to_json(r) + "\n" for r in read_lines(path) if r["step"] <= step))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a JSON-lines file. A last line that is incomplete, because its writer was killed, is left out."""
    records = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return records


def places_of(name: str) -> list[Path]:
    """Paths at which a run or a model of that name may be."""
    return [Path(name), RUNS / name, MODELS / name, SHIPPED / name]


def find_checkpoint(name: str) -> Checkpoint:
    """The checkpoint of ``name``, opened and verified. ``name`` is a run's name or folder, a checkpoint's folder, or the name
    of a published model.
    """
    for path in places_of(name):
        if (path / TRAINER).exists():
            return open_checkpoint(path)
        if (path / "checkpoints").is_dir():
            checkpoint = RunFolder(path).latest()
            if checkpoint is None:
                raise UserError(f"{path}: this run has no checkpoint yet; train it first")
            return checkpoint
    found = sorted({path.name for parent in (RUNS, MODELS, SHIPPED) if parent.is_dir() for path in parent.iterdir()
                    if path.is_dir()})
    hint = f"the runs here are {', '.join(found)}" if found else "`stlm train demo` makes one"
    if Path(name).is_dir():
        raise UserError(f"{name}: neither a run nor a checkpoint of stlm; {hint}")
    raise UserError(f"there is no run {name!r}{did_you_mean(name, found)}; {hint}")
