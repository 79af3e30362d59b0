"""A run that goes on from the weights of another one, on another text: ``stlm train 10m-en --data poems.txt``.

What belongs to the model is that of the other run: parts and sizes, tokenizer, objective as it was in the end, optimizer, and
tokens in a row.
Lengths are those of little text: some passes over it, small steps, and an end when held-out text gets no better. The learning
rate is a share of the other run's, and where that had larger steps, it goes with the square root of their size at most (Malladi
et al. 2022, arXiv 2205.10287). The defaults are measured (docs/log.md).
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from stlm.errors import UserError
from stlm.optim import OptimConfig
from stlm.text.known import known
from stlm.text.tokenizer import TokenizerConfig
from stlm.train.checkpoint import Checkpoint
from stlm.train.folder import find_checkpoint, places_of
from stlm.train.run_config import DataConfig, RunConfig, TrainConfig

STEP = 4096  # tokens of a step
RATE = 0.3  # of the other run's learning rate, where its steps were as small
EPOCHS, MINUTES = 5.0, 20.0
WARMUP, PATIENCE = 3, 5


def finetuning_of(name: str) -> RunConfig:
    """The run that continues with the weights of ``name`` on a text that isn't named yet."""
    other = find_checkpoint(name).config
    batch_size = max(1, STEP // other.train.seq_len)
    rate = min(RATE, math.sqrt(batch_size / other.train.batch_size))
    train = TrainConfig(epochs=EPOCHS, max_minutes=MINUTES, init_from=name, seq_len=other.train.seq_len, batch_size=batch_size,
                        warmup=WARMUP, cooldown=1.0, evaluate_every=None, stop_after=PATIENCE)
    model = dataclasses.replace(other.model, sharing=other.model.sharing.of_trained())
    return RunConfig(data=DataConfig(source="", tokenizer=other.data.tokenizer), model=model,
                     objective=other.objective.of_trained(), optim=slower(other.optim, rate), train=train)


def slower(optim: OptimConfig, by: float) -> OptimConfig:
    """An optimizer with all of its learning rates multiplied by ``by``."""
    rates = [field.name for field in dataclasses.fields(optim) if field.name == "lr" or field.name.endswith("_lr")]
    return dataclasses.replace(optim, **{name: float(f"{by * getattr(optim, name):.3g}") for name in rates})


def check_text(config: RunConfig) -> None:
    """UserError if no text was named."""
    if not config.data.source:
        name = config.train.init_from or ""
        is_run = any((path / "checkpoints").is_dir() for path in places_of(name))
        raise UserError(f"--data: name the text on which {name} is to be trained further, such as --data notes.txt"
                        + (f"; to go on with that run itself: --name {Path(name).name} --resume" if is_run else ""))


def tokenizer_of(config: RunConfig, start: Checkpoint | None) -> TokenizerConfig:
    """The tokenizer of a run's text. If it starts from another run that was described alike, it has that one's tokens, and its
    text teaches it none. start: a checkpoint of the run itself, if there is one.
    """
    if config.train.init_from is None:
        return config.data.tokenizer
    other = start or find_checkpoint(config.train.init_from)
    alike = other.config.data.tokenizer == config.data.tokenizer
    return known(config.data.tokenizer, other.tokenizer) if alike else config.data.tokenizer
