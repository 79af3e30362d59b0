"""Checkpoints: folders that are either complete or absent.

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
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from stlm.config.decode import decode, encode
from stlm.config.files import read_json
from stlm.config.writing import to_json
from stlm.errors import UserError
from stlm.model.compression import CompressionConfig
from stlm.model.lm import LM
from stlm.nn.weights import all_finite
from stlm.text.tokenizer import Tokenizer
from stlm.train.run_config import RunConfig

FORMAT = "stlm checkpoint 3"
MODEL, EMA, OBJECTIVE, OPTIMIZER, TRAINER, CONFIG = (
    "model.safetensors", "ema.safetensors", "objective.safetensors", "optimizer.pt", "trainer.json", "config.json")
UNFINISHED = ".writing-"  # a folder whose name begins so is no checkpoint yet, or no longer one


def save(folder: Path, config: RunConfig, tokenizer: Tokenizer, model: nn.Module, ema: nn.Module | None,
         objective: nn.Module, optimizer: dict[str, Any], counters: dict[str, Any]) -> None:
    """Write a checkpoint. UserError if the disk can't take it; then nothing incomplete stays behind."""
    scratch = folder.with_name(UNFINISHED + folder.name)
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        (scratch / CONFIG).write_text(to_json(encode(config), indent=1), encoding="utf-8")
        tokenizer.save(scratch)
        safetensors.torch.save_model(model, str(scratch / MODEL))
        if ema is not None:
            safetensors.torch.save_model(ema, str(scratch / EMA))
        if objective.state_dict():
            safetensors.torch.save_model(objective, str(scratch / OBJECTIVE))
        torch.save(optimizer, scratch / OPTIMIZER)
        seal(scratch, counters)
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


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step_*") if re.fullmatch(r"step_\d+", path.name))


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints, and the remains of interrupted writes."""
    for path in list_checkpoints(folder)[:-keep]:
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
class Checkpoint:
    """An opened checkpoint. Its files have been verified."""

    folder: Path
    config: RunConfig
    tokenizer: Tokenizer
    counters: dict[str, Any]
    compression: CompressionConfig | None = None

    def load_model(self, model: nn.Module, averaged: bool = False) -> None:
        """Load the weights into ``model``. ``averaged`` loads the averaged ones if there are any."""
        self._load(model, EMA if averaged and EMA in self.counters["sha256"] else MODEL)

    def load_objective(self, objective: nn.Module) -> None:
        """Load the parameters of an objective, if it has any."""
        if objective.state_dict():
            self._load(objective, OBJECTIVE)

    def _load(self, module: nn.Module, name: str) -> None:
        try:
            safetensors.torch.load_model(module, self.folder / name)
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise UserError(f"{self.folder / name}: these weights are not those of the model that {CONFIG} describes "
                            f"({' '.join(str(error).split())[:200]})") from None
        if not all_finite(module.state_dict().values()):
            raise UserError(f"{self.folder / name}: some of these weights are not finite, so this model is broken; use the "
                            "checkpoint before it")

    def optimizer(self) -> dict[str, Any]:
        """The optimizer's state: only tensors and plain values."""
        if OPTIMIZER not in self.counters["sha256"]:
            raise UserError(f"{self.folder}: this model was published without the state of its optimizer, so its training "
                            "can't continue; start a new run from its weights instead (--train.init-from)")
        try:
            return torch.load(self.folder / OPTIMIZER, weights_only=True, map_location="cpu")
        except (RuntimeError, pickle.UnpicklingError) as error:
            raise UserError(f"{self.folder / OPTIMIZER}: not the optimizer's state, or more than tensors and plain values "
                            f"({str(error).splitlines()[0]}); continue from another checkpoint") from None

    def build_model(self) -> LM:
        """The model in evaluation mode, with the averaged weights if there are any."""
        model = LM(self.config.model, self.tokenizer)
        if self.compression is not None:
            self.compression.apply(model)
        self.load_model(model, averaged=True)
        model.set_progress(self.counters.get("progress", 1.0))
        return model.eval()


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open and verify a checkpoint. UserError if it is damaged or was written by another program."""
    if not (folder / TRAINER).exists():
        raise UserError(f"{folder}: not a checkpoint of stlm ({TRAINER} is missing); "
                        "give a run's folder or one of its checkpoints/step_* folders")
    counters = read_json(folder / TRAINER)
    if not isinstance(counters, dict) or counters.get("format") != FORMAT:
        raise UserError(f"{folder / TRAINER}: written by another program or version; "
                        f"this one reads {FORMAT!r}")
    for name, expected in counters["sha256"].items():
        if not (folder / name).exists() or sha256(folder / name) != expected:
            raise UserError(f"{folder / name}: damaged or missing; "
                            f"delete {folder.name} to continue from the checkpoint before it")
    config = decode(RunConfig, read_json(folder / CONFIG), where=str(folder / CONFIG))
    compression = None
    if "compression" in counters:
        compression = decode(_Compressed, {"compression": counters["compression"]}, where=str(folder / TRAINER)).compression
    return Checkpoint(folder, config, config.data.tokenizer.load(folder), counters, compression)


@dataclasses.dataclass(frozen=True)
class _Compressed:
    """The part of a checkpoint's record that says how its weights are stored."""

    compression: CompressionConfig
