"""The description of a run."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from stlm.averaging import AveragingConfig
from stlm.averaging import none as no_averaging
from stlm.batches import BatchesConfig, text
from stlm.config.bounds import Checked, Count, CountOrNone, Megabytes, Positive, Range, Seed, Share, Size
from stlm.config.words import split_list
from stlm.model.model_config import ModelConfig
from stlm.objective import ObjectiveConfig, causal
from stlm.optim import OptimConfig, adamw
from stlm.schedule import ScheduleConfig, constant, linear, why_no_rate
from stlm.text.tokenizer import TokenizerConfig
from stlm.text.tokenizer import bytes as byte_tokenizer
from stlm.train.dropout import DropoutConfig

LENGTHS = ("steps", "minutes", "megabytes", "epochs", "teraflops")  # units of a run's length
EVALUATIONS = 20  # in a run whose evaluations aren't counted in steps


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked):
    """The text to learn from."""

    source: str = "world"
    """A file, a folder, a .zip, hf:NAME, or world (the built-in corpus); several with commas. Data files named `train`,
    `validation`, `test` (also with a number) are used as such; otherwise stlm sets some text aside for testing."""
    field: str = "text"
    """Field of jsonl and parquet files, or of a data set of the hub, that holds the text."""
    megabytes: Megabytes = 16.0
    """Millions of bytes of text from world or hf:NAME. Files are read whole."""
    first_megabytes: Megabytes | None = None
    """Train on only the first so many millions of bytes of the text. Not set: on all of it."""
    tokenizer: TokenizerConfig = byte_tokenizer.Config()
    """How text becomes tokens."""

    @property
    def names(self) -> str:
        """The sources without their paths: only the names of files and folders."""
        return ", ".join(Path(source).name for source in split_list(self.source))


@dataclasses.dataclass(frozen=True)
class TrainConfig(Checked):
    """The length of the run, the size of a step, and what is saved and shown."""

    alternatives: ClassVar = [LENGTHS]

    steps: Count | None = None
    """Train for this many steps."""
    minutes: Annotated[float, Range(0, 10**7, above=True)] | None = None
    """Train for this many minutes. Start-up and scoring don't count. The learning rate falls by time, not by steps."""
    megabytes: Positive | None = None
    """Train on this many millions of bytes of text. Text that is read again counts again."""
    epochs: Positive | None = None
    """Read the training text so many times."""
    teraflops: Annotated[float, Range(0, 10**15, above=True)] | None = None
    """Train with this many floating-point operations, in units of 10^12. Only large matrix products are counted."""
    max_minutes: Annotated[float, Range(0, 10**7, above=True)] | None = None
    """Train for at most this many minutes, whatever the length. The learning rate falls by what ends first."""
    init_from: str | None = None
    """Start from the weights of this run or model (fine-tuning). Both must have the same size and parts; only sharing may
    differ."""
    seq_len: Size = 512
    """Number of tokens in a row, which is the longest context in training."""
    batch_size: Size = 16
    """Number of rows in a step."""
    grad_accum: Size = 1
    """Split each step into this many parts, one after the other: less memory, the same result."""
    warmup: CountOrNone = 50
    """Steps in which the learning rate rises to its peak."""
    cooldown: Share = 0.5
    """The last share of the run, in which the learning rate falls to zero (0 to 1)."""
    schedule: ScheduleConfig = linear.Config()
    """The shape of that fall."""
    dropout: DropoutConfig = DropoutConfig()
    """Dropout in training. It helps where text is read many times."""
    weight_decay_schedule: ScheduleConfig = constant.Config()
    """The shape in which the weight decay changes over the whole run."""
    grad_clip: Positive = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down."""
    averaging: AveragingConfig = no_averaging.Config()
    """Which mean of the weights of many steps is scored, saved and used in the place of the last ones."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format for computing. auto times both at the start and takes the faster one."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether to use torch.compile. auto tries it if the run is long enough, and keeps it if it is faster."""
    checkpoint_every: Count = 200
    """Steps between checkpoints."""
    keep: Count = 2
    """Number of checkpoints to keep."""
    evaluate_every: Count | None = 100
    """Steps between evaluations on the validation text. none: twenty evaluations in a run."""
    evaluate_kilobytes: Positive = 64.0
    """Thousands of bytes of validation text in each of these evaluations. At the end, all of it is used."""
    keep_best: bool = True
    """Keep the weights of the best of these evaluations too. If they are better than the last ones on all of the validation
    text, they are used."""
    stop_after: CountOrNone = 0
    """End the run after so many evaluations in a row without a new best. The best weights are used. 0: never. The learning rate
    doesn't fall earlier for it."""
    sample_every: Count = 200
    """Steps between samples of generated text."""
    tasks: tuple[str, ...] = ()
    """Benchmarks to run during training, such as blimp (names as in stlm eval)."""
    tasks_every: Count = 1000
    """Steps between these benchmarks."""
    tasks_limit: Count = 500
    """Number of items of each benchmark. They are drawn at random, and always the same."""
    log_every: Count = 10
    """Steps between lines of metrics."""
    trackers: tuple[str, ...] = ()
    """Send metrics to these as well: tensorboard, wandb, or a module of your own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(getattr(self, name) is not None for name in LENGTHS) != 1:
            raise ValueError(f"give one of {', '.join(LENGTHS)}")
        if self.batch_size % self.grad_accum:
            raise ValueError(f"batch_size = {self.batch_size} has to be a multiple of grad_accum = {self.grad_accum}")
        if (self.minutes or 0.0) > (self.max_minutes or math.inf):
            raise ValueError(f"max_minutes = {self.max_minutes:g} would end the run before minutes = {self.minutes:g}; set "
                             "max_minutes to none")
        if self.stop_after and not self.keep_best:
            raise ValueError("stop_after needs the best weights: set keep_best to true, or stop_after to 0")
        if fault := why_no_rate(self.schedule, self.cooldown):
            raise ValueError(f"schedule: {fault}")

    @property
    def by_clock(self) -> bool:
        """Whether the length depends on the speed of the machine."""
        return self.minutes is not None or self.max_minutes is not None

    def evaluates(self, step: int, before: float, after: float) -> bool:
        """Whether the validation text is scored after this step. before, after: progress before and after the step."""
        if self.evaluate_every is None:
            return math.floor(EVALUATIONS * after) > math.floor(EVALUATIONS * before)
        return step % self.evaluate_every == 0

    def looks(self, step: int) -> bool:
        """Whether something else looks at the weights after this step."""
        return any(step % every == 0 for every in (self.sample_every, self.tasks_every))


@dataclasses.dataclass(frozen=True)
class RunConfig(Checked):
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
    seed: Seed = 0
    """Seed of the weights, of the order of the text, and of the built-in corpus."""
