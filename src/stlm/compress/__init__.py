"""From a checkpoint to a smaller one. It holds only the weights, in the form of a kind of compression."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import safetensors.torch

from stlm.config.decode import encode
from stlm.errors import UserError
from stlm.model.compression import CompressionConfig
from stlm.train.checkpoint import CONFIG, FORMAT, MODEL, TRAINER, Checkpoint, sha256
from stlm.train.folder import write_whole


def write_compressed(checkpoint: Checkpoint, folder: Path, compression: CompressionConfig) -> int:
    """Write the averaged weights, or the plain weights if there are no averaged ones, to ``folder``. Returns their size in
    bytes.

    The folder is a checkpoint without the optimizer's state. So the model can be used, but its training can't be continued.
    Paths of the training text are reduced to the names of files and folders. Raises UserError if the folder has a model
    already.
    """
    if (folder / TRAINER).exists():
        raise UserError(f"{folder}: this model exists already; delete it, or choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    config, model = checkpoint.config, checkpoint.new_model()
    checkpoint.load_model(model, averaged=True)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=config.data.names),
                                 train=dataclasses.replace(config.train, init_from=None))
    write_whole(folder / CONFIG, json.dumps(encode(config), indent=1) + "\n")
    checkpoint.tokenizer.save(folder)
    compression.compress(model)
    safetensors.torch.save_model(model, str(folder / MODEL))
    sums = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.suffix != ".md"}
    kept = {name: checkpoint.counters[name] for name in ("step", "spent", "n_bytes", "flops", "progress")}
    record = {"format": FORMAT, **kept, "compression": encode(compression), "sha256": sums}
    write_whole(folder / TRAINER, json.dumps(record, indent=1) + "\n")
    return (folder / MODEL).stat().st_size
