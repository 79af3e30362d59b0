"""Checkpoints: folders that are either complete or absent. `best` says when weights are saved alone.

A checkpoint has ``config.json`` (the run's description), ``model.safetensors``, ``ema.safetensors`` if weights are averaged,
``objective.safetensors`` if the objective has parameters of its own, ``optimizer.pt`` (read with ``weights_only``) and
``trainer.json`` (counters, and the sha256 of every other file). The folder is written and synced under another name, then
renamed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from stlm.config.decode import encode
from stlm.config.files import decode_record, read_json
from stlm.config.writing import to_json
from stlm.errors import UserError
from stlm.model.compression import CompressionConfig
from stlm.model.lm import LM
from stlm.nn.weights import all_finite
from stlm.text.tokenizer import Tokenizer
from stlm.train.older import in_todays_words
from stlm.train.run_config import RunConfig

FORMAT = "stlm checkpoint 3"
MODEL, EMA, OBJECTIVE, OPTIMIZER, TRAINER, CONFIG = (
    "model.safetensors", "ema.safetensors", "objective.safetensors", "optimizer.pt", "trainer.json", "config.json")
UNFINISHED = ".writing-"  # a folder whose name begins so is no checkpoint yet, or no longer one
MOST = 2**63  # of any counter


def save(folder: Path, config: RunConfig, tokenizer: Tokenizer, model: nn.Module, ema: nn.Module | None,
         objective: nn.Module, optimizer: dict[str, Any], counters: dict[str, Any]) -> None:
    """Write a checkpoint. UserError if the disk can't take it; then nothing incomplete stays behind."""
    with _whole(folder) as scratch:
        _write_model(scratch, config, tokenizer, model)
        if ema is not None:
            safetensors.torch.save_model(ema, str(scratch / EMA))
        if objective.state_dict():
            safetensors.torch.save_model(objective, str(scratch / OBJECTIVE))
        torch.save(optimizer, scratch / OPTIMIZER)
        seal(scratch, counters)


def save_weights(folder: Path, config: RunConfig, tokenizer: Tokenizer, model: nn.Module, record: dict[str, Any]) -> None:
    """The same without what training needs to go on: a checkpoint that can only be used."""
    with _whole(folder) as scratch:
        _write_model(scratch, config, tokenizer, model)
        seal(scratch, record)


def _write_model(folder: Path, config: RunConfig, tokenizer: Tokenizer, model: nn.Module) -> None:
    (folder / CONFIG).write_text(to_json(encode(config), indent=1), encoding="utf-8")
    tokenizer.save(folder)
    safetensors.torch.save_model(model, str(folder / MODEL))


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A new folder to write to, which becomes ``folder`` when the context is left. UserError if the disk can't take it."""
    scratch = folder.with_name(UNFINISHED + folder.name)
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        yield scratch
        if folder.exists():
            _discard(folder)
        scratch.rename(folder)
        _sync(folder.parent)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:  # torch and safetensors wrap the system's error
        reason = _reason(error, folder)
        shutil.rmtree(scratch, ignore_errors=True)
        saved = [path.name for path in list_checkpoints(folder.parent)]
        raise UserError(f"{folder}: the checkpoint cannot be written ({reason}); "
                        + (f"{saved[-1]} is the last good one; " if saved else "")
                        + "free some space and continue with --resume") from None


def seal(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a complete folder of files, with their sums. All are on disk when this returns."""
    sums = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    (folder / TRAINER).write_text(to_json({"format": FORMAT, **record, "sha256": sums}, indent=1) + "\n", encoding="utf-8")
    for path in [*folder.iterdir(), folder]:
        _sync(path)


def _reason(error: BaseException, folder: Path) -> str:
    """The system's own message. torch hides it behind another one if the disk is full."""
    near = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not isinstance(error, OSError) and shutil.disk_usage(near).free < 1 << 20:
        return os.strerror(errno.ENOSPC)
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """The checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_of(folder: Path, step: int) -> Path:
    """The folder of the checkpoint of a step."""
    return folder / f"step_{step:07d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    found = [path for path in folder.glob("step_*") if re.fullmatch(r"step_[0-9]{1,19}", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints, and the remains of interrupted writes."""
    discard_others(folder, list_checkpoints(folder)[-keep:])


def discard_others(folder: Path, kept: Sequence[Path]) -> None:
    """Delete all checkpoints but these, and the remains of interrupted writes."""
    for path in list_checkpoints(folder):
        if path not in kept:
            _discard(path)
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _discard(folder: Path) -> None:
    """Delete a checkpoint. What is half deleted has another name, so that nothing takes it for a checkpoint."""
    doomed = folder.with_name(f"{UNFINISHED}old-{folder.name}")
    with contextlib.suppress(OSError):
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed)


@dataclasses.dataclass(frozen=True)
class Record:
    """What ``trainer.json`` says, apart from the sums. Fields that only a newer version knows are ignored.

    step, rows, spent, n_bytes, flops, flops_per_byte, averaged: what the run has used (`Counters`); rows is None in older
    records. corpus: a hash of the training text; None in published models. progress: the share of the run that is done.
    compression: how the weights are stored; None if they are as in training.
    """

    step: int
    spent: float
    n_bytes: int
    flops: float
    flops_per_byte: float = 0.0
    averaged: int = 0
    rows: int | None = None
    corpus: str | None = None
    progress: float = 1.0
    compression: CompressionConfig | None = None

    def __post_init__(self) -> None:
        for name in ("step", "rows", "spent", "n_bytes", "flops", "flops_per_byte", "averaged", "progress"):
            value, most = getattr(self, name), 1 if name == "progress" else MOST
            if value is not None and not 0 <= value <= most:
                raise ValueError(f"{name} = {value}: it has to lie between 0 and {most:g}")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint. Its files have been verified. counters: all of ``trainer.json``."""

    folder: Path
    config: RunConfig
    tokenizer: Tokenizer
    counters: dict[str, Any]
    compression: CompressionConfig | None = None

    def load_model(self, model: nn.Module, averaged: bool = False) -> None:
        """Load the weights into ``model``. ``averaged`` loads the averaged ones if there are any."""
        self._load(model, EMA if averaged and self._has(EMA) else MODEL)

    def load_objective(self, objective: nn.Module) -> None:
        """Load the parameters of an objective, if it has any."""
        if objective.state_dict():
            self._load(objective, OBJECTIVE)

    def _has(self, name: str) -> bool:
        """Whether a file is part of the checkpoint. Other files in its folder are not."""
        return name in self.counters["sha256"]

    def _load(self, module: nn.Module, name: str) -> None:
        path = self.folder / name
        if not self._has(name):
            raise UserError(f"{path}: this file is missing, so the training can't continue from {self.folder.name}")
        try:
            _check_tensors(module, path)
            safetensors.torch.load_model(module, path)
        except (OSError, RuntimeError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
            raise UserError(f"{path}: these weights are not those of the model that {CONFIG} describes "
                            f"({' '.join(str(error).split())[:200]})") from None
        if not all_finite(module.state_dict().values()):
            raise UserError(f"{self.folder / name}: some of these weights are not finite, so this model is broken; use the "
                            "checkpoint before it")

    def optimizer(self) -> dict[str, Any]:
        """The optimizer's state: only tensors and plain values."""
        if not self._has(OPTIMIZER):
            raise UserError(f"{self.folder}: this model was published without the state of its optimizer, so its training "
                            "can't continue; start a new run from its weights instead (--train.init-from)")
        try:
            return torch.load(self.folder / OPTIMIZER, weights_only=True, map_location="cpu")
        except Exception as error:  # damaged pickles raise errors of many types
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"{self.folder / OPTIMIZER}: not the optimizer's state, or more than tensors and plain values "
                            f"({reason}); continue from another checkpoint") from None

    def new_model(self) -> LM:
        """A model of this description, without its weights. UserError if it is far larger than the file of its weights."""
        try:
            with torch.device("meta"):  # takes no memory
                n = sum(value.numel() for value in LM(self.config.model, self.tokenizer).state_dict().values())
        except (RuntimeError, OverflowError, MemoryError):
            n = MOST
        if n > 8 * (self.folder / MODEL).stat().st_size:  # not even one bit for each
            raise UserError(f"{self.folder / MODEL}: too small for the model that {CONFIG} describes, so they don't belong "
                            "together")
        return LM(self.config.model, self.tokenizer)

    def build_model(self) -> LM:
        """The model in evaluation mode, with the averaged weights if there are any."""
        model = self.new_model()
        if self.compression is not None:
            self.compression.apply(model)
        self.load_model(model, averaged=True)
        model.set_progress(self.counters.get("progress", 1.0))
        return model.eval()


def _check_tensors(module: nn.Module, path: Path) -> None:
    """ValueError if a stored tensor can't be one of ``module``, whatever their shapes, which PyTorch compares. Only the names
    and types in the file are read.
    """
    own = module.state_dict()
    with safetensors.safe_open(path, "pt") as found:
        for name in found.keys():  # noqa: SIM118, because it is no dict
            kind = found.get_slice(name).get_dtype()
            if name in own and own[name].is_floating_point() != kind.startswith(("F", "BF")):
                raise ValueError(f"{name} is stored as {kind}")


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open and verify a checkpoint. UserError if it is damaged or was written by another program."""
    if not (folder / TRAINER).exists():
        raise UserError(f"{folder}: not a checkpoint of stlm ({TRAINER} is missing); "
                        "give a run's folder or one of its checkpoints/step_* folders")
    counters = read_json(folder / TRAINER)
    if not isinstance(counters, dict) or counters.get("format") != FORMAT:
        raise UserError(f"{folder / TRAINER}: written by another program or version; "
                        f"this one reads {FORMAT!r}")
    for name, expected in _sums(folder, counters).items():
        if not (folder / name).is_file() or sha256(folder / name) != expected:
            raise UserError(f"{folder / name}: damaged or missing; "
                            f"delete {folder.name} to continue from the checkpoint before it")
    known = {field.name for field in dataclasses.fields(Record)}
    record = decode_record(Record, {name: value for name, value in counters.items() if name in known}, str(folder / TRAINER))
    config = decode_record(RunConfig, in_todays_words(read_json(folder / CONFIG)), str(folder / CONFIG))
    return Checkpoint(folder, config, config.data.tokenizer.load(folder), counters, record.compression)


def _sums(folder: Path, counters: dict[str, Any]) -> dict[str, str]:
    """The sum of each file. UserError unless they are those of files in the folder, the description and the weights included.
    """
    sums = counters.get("sha256")
    if not isinstance(sums, dict) or not sums.keys() >= {CONFIG, MODEL}:
        raise UserError(f"{folder / TRAINER}: the sums of {CONFIG} and {MODEL} are missing, so they can't be verified; another "
                        "version of stlm has written it, or it was changed by hand")
    for name in sums:
        if not name or Path(name).name != name or name == "..":
            raise UserError(f"{folder / TRAINER}: {name!r} is no file of a checkpoint")
    return sums
