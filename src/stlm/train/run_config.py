"""The description of a run."""

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

LENGTHS = ("steps", "minutes", "megabytes", "teraflops")  # units of a run's length


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The text to learn from."""

    source: str = "world"
    """A file, a folder, a .zip, hf:NAME, or world (the built-in corpus); several with commas. Data files named `train`,
    `validation`, `test` (also with a number) are used as such; otherwise stlm sets some text aside for testing."""
    field: str = "text"
    """Field of jsonl and parquet files, or of a data set of the hub, that holds the text."""
    megabytes: float = 16.0
    """Millions of bytes of text from world or hf:NAME. Files are read whole."""
    tokenizer: TokenizerConfig = byte_tokenizer.Config()
    """How text becomes tokens."""

    def __post_init__(self) -> None:
        if self.megabytes <= 0:
            raise ValueError("megabytes has to be above 0")

    @property
    def names(self) -> str:
        """The sources without their paths: only the names of files and folders."""
        return ", ".join(Path(source.strip()).name for source in self.source.split(","))


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The length of the run, the size of a step, and what is saved and shown."""

    alternatives: ClassVar = [LENGTHS]

    steps: int | None = None
    """Train for this many steps."""
    minutes: float | None = None
    """Train for this many minutes. Start-up and scoring don't count. The learning rate falls by time, not by steps."""
    megabytes: float | None = None
    """Train on this many millions of bytes of text. Text that is read again counts again."""
    teraflops: float | None = None
    """Train with this many floating-point operations, in units of 10^12. Only large matrix products are counted."""
    init_from: str | None = None
    """Start from the weights of this run or model (fine-tuning). Both must have the same size and parts; only sharing may
    differ."""
    seq_len: int = 512
    """Number of tokens in a row, which is the longest context in training."""
    batch_size: int = 16
    """Number of rows in a step."""
    grad_accum: int = 1
    """Split each step into this many parts, one after the other: less memory, the same result."""
    warmup: int = 50
    """Steps in which the learning rate rises to its peak."""
    cooldown: float = 0.5
    """The last share of the run, in which the learning rate falls to zero (0 to 1)."""
    schedule: ScheduleConfig = linear.Config()
    """The shape of that fall."""
    grad_clip: float = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down."""
    ema: float = 0.0
    """Decay of a running average of the weights. If it is above 0, the averaged weights are scored and used."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format for computing. auto times both at the start and takes the faster one."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether to use torch.compile. auto tries it if the run is long enough, and keeps it if it is faster."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    keep: int = 2
    """Number of checkpoints to keep."""
    evaluate_every: int = 100
    """Steps between evaluations on the validation text."""
    evaluate_kilobytes: float = 64.0
    """Thousands of bytes of validation text in each of these evaluations. At the end, all of it is used."""
    sample_every: int = 200
    """Steps between samples of generated text."""
    tasks: tuple[str, ...] = ()
    """Benchmarks to run during training, such as blimp (names as in stlm eval)."""
    tasks_every: int = 1000
    """Steps between these benchmarks."""
    tasks_limit: int = 500
    """Number of items of each benchmark. They are drawn at random, and always the same."""
    log_every: int = 10
    """Steps between lines of metrics."""
    trackers: tuple[str, ...] = ()
    """Send metrics to these as well: tensorboard, wandb, or a module of your own."""

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
            raise ValueError(f"batch_size = {self.batch_size} has to be a multiple of grad_accum = {self.grad_accum}")
        if self.warmup < 0 or not 0 <= self.cooldown <= 1 or not 0 <= self.ema < 1:
            raise ValueError("warmup has to be 0 or more, cooldown between 0 and 1, ema 0 or more and below 1")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A whole run: the text, the model, the objective, the optimizer and the training."""

    data: DataConfig = DataConfig()
    """The text to learn from."""
    model: ModelConfig = ModelConfig()
    """The model."""
    objective: ObjectiveConfig = causal.Config()
    """What the model is trained for."""
    batches: BatchesConfig = text.Config()
    """Where batches come from."""
    optim: OptimConfig = adamw.Config()
    """The optimizer."""
    train: TrainConfig = TrainConfig(steps=1000)
    """The length of the run, the size of a step, and what is saved and shown."""
    seed: int = 0
    """Seed of the weights, of the order of the text, and of the built-in corpus."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed = {self.seed}: it has to be 0 or more, and below 2^63")
