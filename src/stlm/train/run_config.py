"""How a run is described."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from stlm.batches import BatchesConfig, text
from stlm.model.model_config import ModelConfig
from stlm.objective import ObjectiveConfig, causal
from stlm.optim import OptimConfig, adamw
from stlm.schedule import ScheduleConfig, linear
from stlm.text.tokenizer import TokenizerConfig
from stlm.text.tokenizer import bytes as byte_tokenizer

LENGTHS = ("steps", "minutes", "megabytes", "teraflops")  # in which a run's length can be given


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The text."""

    source: str = "world"
    """A file, a folder, hf:NAME, or world, the built-in corpus (short: --data)."""
    field: str = "text"
    """Which field of jsonl and parquet holds the text."""
    megabytes: float = 16.0
    """Millions of bytes to write (world) or to take (hf:)."""
    tokenizer: TokenizerConfig = byte_tokenizer.Config()
    """Text to tokens."""

    def __post_init__(self) -> None:
        if self.megabytes <= 0:
            raise ValueError("megabytes has to be above 0")

    @property
    def names(self) -> str:
        """The sources without where they lie: names of files and folders."""
        return ", ".join(Path(source.strip()).name for source in self.source.split(","))


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, how much at once, and what is written on the way."""

    alternatives: ClassVar = [LENGTHS]

    steps: int | None = None
    """Steps to train."""
    minutes: float | None = None
    """Minutes to train, instead of steps: of training proper; the decay then goes by the clock."""
    megabytes: float | None = None
    """Millions of bytes of text to train on, instead of steps, repetitions included."""
    teraflops: float | None = None
    """Floating-point operations to train with, in units of 10^12, instead of steps: those of large products are counted."""
    init_from: str | None = None
    """A run whose weights to begin with. Its trunk may share less than this one's."""
    seq_len: int = 512
    """Tokens in a row."""
    batch_size: int = 16
    """Rows in a step."""
    grad_accum: int = 1
    """Micro-batches that the rows of a step are split into, for less memory."""
    warmup: int = 50
    """Steps until the learning rate reaches its peak."""
    cooldown: float = 0.5
    """Last share of the run in which the learning rate falls to zero."""
    schedule: ScheduleConfig = linear.Config()
    """The shape of that fall."""
    grad_clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.0
    """Decay of the running average of weights that is evaluated and used; 0 for none."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Numbers to compute in; auto times both at the start and takes the faster."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; auto tries it where the run is long enough to pay for it, and keeps it where it is faster."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    keep: int = 2
    """How many checkpoints are kept."""
    evaluate_every: int = 100
    """Steps between looks at the validation text."""
    evaluate_kilobytes: float = 64.0
    """How much of the validation text is looked at on the way, in thousands of bytes; at the end, all of it."""
    sample_every: int = 200
    """Steps between samples of text."""
    tasks: tuple[str, ...] = ()
    """Benchmarks to look at on the way, such as blimp (names as for stlm eval)."""
    tasks_every: int = 1000
    """Steps between such looks."""
    tasks_limit: int = 500
    """Items of each benchmark, drawn at random and always the same."""
    log_every: int = 10
    """Steps between lines of metrics."""
    trackers: tuple[str, ...] = ()
    """Also log to these: tensorboard, wandb."""

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in LENGTHS) != 1:
            raise ValueError(f"give one of {', '.join(LENGTHS)}")
        for name in (*LENGTHS, "grad_clip"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} = {getattr(self, name)}: it has to be above 0")
        for name in ("seq_len", "batch_size", "grad_accum", "checkpoint_every", "keep", "evaluate_every", "sample_every",
                     "tasks_every", "tasks_limit", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: it has to be 1 or more")
        if self.batch_size % self.grad_accum:
            raise ValueError(f"grad_accum = {self.grad_accum} has to divide batch_size = {self.batch_size}")
        if self.warmup < 0 or not 0 <= self.cooldown <= 1 or not 0 <= self.ema < 1:
            raise ValueError("warmup has to be 0 or more, cooldown between 0 and 1, ema at least 0 and below 1")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A whole run: the text, the model, what it is trained for and how."""

    data: DataConfig = DataConfig()
    """The text."""
    model: ModelConfig = ModelConfig()
    """The model."""
    objective: ObjectiveConfig = causal.Config()
    """What training minimises."""
    batches: BatchesConfig = text.Config()
    """Where batches come from."""
    optim: OptimConfig = adamw.Config()
    """The optimizer."""
    train: TrainConfig = TrainConfig(steps=1000)
    """Length, batch and bookkeeping."""
    seed: int = 0
    """Of the weights, of the order of the text, and of the built-in corpus."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed = {self.seed}: it has to be 0 or more, and below 2^63")
