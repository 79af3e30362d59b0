"""A trained model as a folder to ship: its weights alone, in bfloat16, with what is needed to read them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import safetensors.torch
import torch

from stlm.config.decode import encode
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.train.checkpoint import CONFIG, FORMAT, MODEL, TRAINER, Checkpoint, sha256
from stlm.train.folder import write_whole


def publish(checkpoint: Checkpoint, folder: Path) -> int:
    """Write the averaged weights, or the weights where none are averaged, to ``folder``; their size in bytes.

    The folder is a checkpoint as any other, but without the optimizer's state: it can be used, not gone on with. Of where the
    text lay, only the names of files and folders stay. Raises UserError where the folder is taken.
    """
    if (folder / TRAINER).exists():
        raise UserError(f"{folder}: this model exists already; delete it, or choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    config, model = checkpoint.config, LM(checkpoint.config.model, checkpoint.tokenizer)
    checkpoint.load_model(model, averaged=True)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=config.data.names),
                                 train=dataclasses.replace(config.train, init_from=None))
    write_whole(folder / CONFIG, json.dumps(encode(config), indent=1) + "\n")
    checkpoint.tokenizer.save(folder)
    safetensors.torch.save_model(model.to(torch.bfloat16), str(folder / MODEL))
    sums = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.suffix != ".md"}
    kept = {name: checkpoint.counters[name] for name in ("step", "spent", "n_bytes", "flops", "fraction")}
    write_whole(folder / TRAINER, json.dumps({"format": FORMAT, **kept, "sha256": sums}, indent=1) + "\n")
    return (folder / MODEL).stat().st_size
