"""From a checkpoint to a smaller one. It holds only the weights, in the form of a kind of compression."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path

import safetensors.torch

from stlm.config.decode import encode
from stlm.config.writing import check_folder, to_json
from stlm.errors import UserError
from stlm.model.compression import CompressionConfig
from stlm.nn.weights import all_finite
from stlm.train.checkpoint import CONFIG, MODEL, TRAINER, UNFINISHED, Checkpoint, seal

WRITING, READY = f"{UNFINISHED}model", f"{UNFINISHED}ready"  # inside the folder: files that aren't complete, and those that are


def write_compressed(checkpoint: Checkpoint, folder: Path, compression: CompressionConfig, force: bool = False) -> int:
    """Write the averaged weights, or the plain weights if there are no averaged ones, to ``folder``. Returns their size in
    bytes.

    The folder is a checkpoint without the optimizer's state. So the model can be used, but its training can't be continued.
    Paths of the training text are reduced to the names of files and folders. The folder may have other contents, such as those
    of a repository, which stay as they are. UserError if files have to be replaced for it, unless ``force`` allows that.

    The record, without which a folder is no model, is the last file to get its name. So a folder is never half a model, and a
    call that was killed can be given again.
    """
    check_folder(folder)
    _refuse_existing(folder, [TRAINER], force)
    new, killed = not folder.exists(), (folder / READY).exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(checkpoint, folder / WRITING, compression)
        if not killed:  # a call that was killed here had looked before
            _refuse_existing(folder, [path.name for path in (folder / WRITING).iterdir()], force)
        shutil.rmtree(folder / READY, ignore_errors=True)
        (folder / WRITING).rename(folder / READY)
        _move(folder / READY, folder)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder}: the model cannot be written ({getattr(error, 'strerror', None) or error})") from None
    finally:
        shutil.rmtree(folder / WRITING, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):  # it has files if all is well
                folder.rmdir()
    return (folder / MODEL).stat().st_size


def _refuse_existing(folder: Path, names: list[str], force: bool) -> None:
    taken = [name for name in sorted(names) if os.path.lexists(folder / name)]
    if TRAINER in taken and not force:
        raise UserError(f"{folder}: this model exists already; choose another name, or replace it with --force")
    if taken and not force:
        raise UserError(f"{folder / taken[0]}: this file exists already; choose another name, or replace it with --force")


def _write(checkpoint: Checkpoint, folder: Path, compression: CompressionConfig) -> None:
    """Write all files of the model to a folder of their own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config, model = checkpoint.config, checkpoint.new_model()
    checkpoint.load_model(model, averaged=True)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=config.data.names),
                                 train=dataclasses.replace(config.train, init_from=None))
    (folder / CONFIG).write_text(to_json(encode(config), indent=1) + "\n", encoding="utf-8")
    checkpoint.tokenizer.save(folder)
    compression.compress(model)
    if not all_finite(model.state_dict().values()):
        raise UserError(f"{checkpoint.folder}: some weights are too large for this kind of compression; choose another")
    safetensors.torch.save_model(model, str(folder / MODEL))
    kept = {name: checkpoint.counters[name] for name in ("step", "spent", "n_bytes", "flops", "progress")}
    seal(folder, {**kept, "compression": encode(compression)})


def _move(ready: Path, folder: Path) -> None:
    """Give complete files their final names, the record last."""
    (folder / TRAINER).unlink(missing_ok=True)
    for path in sorted(ready.iterdir(), key=lambda path: path.name == TRAINER):
        path.replace(folder / path.name)
    ready.rmdir()
