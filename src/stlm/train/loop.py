"""The training loop."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from stlm.averaging import Moment, average
from stlm.batches import BatchSource
from stlm.data.batch import Batch
from stlm.data.prefetch import Prefetch
from stlm.data.shards import Corpus
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.model.loss import exact
from stlm.nn.sharded import locals_of
from stlm.nn.weights import all_finite
from stlm.optim import scale_of, set_learning_rate, set_weight_decay, succeed
from stlm.schedule import rate_factor
from stlm.train import checkpoint, machine
from stlm.train.compiling import OFF
from stlm.train.decisions import Decisions, record_start
from stlm.train.folder import RunFolder
from stlm.train.gradients import GradientSum
from stlm.train.length import Counters, goal_of, progress_of
from stlm.train.model_with_loss import ModelWithLoss
from stlm.train.parallel import Parallel, spread
from stlm.train.ranks import LostProcess, Ranks
from stlm.train.run_config import RunConfig

AHEAD = 4  # steps whose batches are prepared while a GPU computes
COMPILING = 600.0  # seconds in which a process may compile a new size of batches, while the others wait
RECOUNT = 100  # steps between counts of FLOPs, for models whose cost changes during training


class Diverged(UserError):
    """Gradients or weights aren't finite any more."""


class Callback:
    """Base of everything that watches a run. A callback may read the trainer and return figures, but it changes nothing."""

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first step."""

    def before_first_step(self, trainer: Trainer) -> dict[str, float] | None:
        """Once in a run, after all callbacks have begun. The returned figures are logged."""

    def on_step_end(self, trainer: Trainer) -> dict[str, float] | None:
        """After every step. The returned figures are logged."""

    def on_log(self, trainer: Trainer, figures: dict[str, float]) -> None:
        """After a line of figures was logged."""

    def on_train_end(self, trainer: Trainer) -> None:
        """After the last step, also if the run was stopped."""


@dataclasses.dataclass
class Trainer:
    """One run, as built by `build.build_run`, and its training loop.

    total: steps of the whole run; None if its length is in minutes or FLOPs. ema: averaged weights, if the run has them.
    notes: what the user should know before the first step. changes: fields of the description that have changed since the run
    was saved. peak: the largest number of bytes of memory in use, set when the run ends. stop: set it to True to end the run
    after the present step; a checkpoint is saved. over: the same, but then the run is finished.

    With several processes, each has a trainer, and all do the same steps, each with its share of the rows. Only the main one
    has callbacks.
    """

    folder: RunFolder
    config: RunConfig
    corpus: Corpus
    device: torch.device
    with_loss: ModelWithLoss
    optimizers: list[Optimizer]
    source: BatchSource
    decisions: Decisions
    total: int | None
    counters: Counters
    ema: LM | None = None
    callbacks: list[Callback] = dataclasses.field(default_factory=list)
    ranks: Ranks = dataclasses.field(default_factory=Ranks)
    sharded: str = "auto"
    notes: Sequence[str] = ()
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    peak: int = 0
    stop: bool = False
    over: bool = False

    def __post_init__(self) -> None:
        self._sums: dict[tuple[str, ...], list[torch.Tensor]] = defaultdict(list)  # sums and counts of figures, by their names
        self._logged_at = (self.counters.spent, self.counters.n_bytes)
        self.model, self.objective = self.with_loss.model, self.with_loss.objective
        self.parallel = spread(self.with_loss, self.ema, self.optimizers, self.ranks, self.sharded)
        self.trained = list(self.with_loss.parameters())
        self._goal = goal_of(self.config.train, self.corpus.train, self.counters.searched)
        self.source.follow(self.progress_at)
        self._in_update, self._to_average, self._before = False, False, self.progress()
        self._copy: LM | None = None
        # on a CPU, preparing the next batch would slow down the present step
        self._batches = Prefetch(self._batches_of, AHEAD if self.device.type != "cpu" and self.source.pure else 0)

    def _batches_of(self, step: int) -> list[Batch]:
        return self.source.batches(step, self.model)

    @property
    def _checkpoint(self) -> Path:
        """The folder of a checkpoint of this step."""
        return checkpoint.checkpoint_of(self.folder.checkpoints, self.step)

    @property
    def step(self) -> int:
        return self.counters.step

    @property
    def done(self) -> bool:
        return self.over or self.progress() >= 1

    @property
    def evaluates(self) -> bool:
        """Whether the held-out text is scored after this step."""
        return self.done or self.config.train.evaluates(self.step, self._before, self.progress())

    def progress(self) -> float:
        """The share of the run that is done, 0 to 1."""
        return progress_of(self.config.train, self.counters, self._goal)

    def progress_at(self, step: int, rows: int) -> float:
        """The share that is done when so many steps and rows are. If the length is in minutes or FLOPs, what is done by now."""
        return progress_of(self.config.train, dataclasses.replace(self.counters, step=step, rows=rows), self._goal)

    @property
    def used(self) -> LM:
        """The weights that are used: the averaged ones, once there are some."""
        return self.ema if self.ema is not None and self.counters.averaged else self.model

    def save(self) -> Path:
        """Save a checkpoint of this step. Only the newest `keep` checkpoints stay. UserError if weights aren't finite."""
        self._refuse_broken_weights()
        path, parallel = self._checkpoint, self.parallel
        optimizers = [parallel.state_of(optimizer) for optimizer in self.optimizers]
        parts = [self.model, self.objective] + ([] if self.used is self.model else [self.used])
        for part in parts:
            parallel.gather(part)
        if self.ranks.is_main:
            with self.ranks.alone():
                self.folder.check_own()
                record = {**dataclasses.asdict(self.counters), "corpus": self.corpus.contents, "progress": self.progress()}
                model, objective, *ema = (parallel.plain(part) for part in parts)
                checkpoint.save(path, self.config, self.corpus.tokenizer, model, ema[0] if ema else None, objective,
                                {"optimizers": optimizers, "batches": self.source.state_dict()}, record)
                checkpoint.prune(self.folder.checkpoints, self.config.train.keep)
        return path

    def usable_model(self) -> LM:
        """A model with the present weights (the averaged ones if there are any), to evaluate and generate with. Every call
        returns the same model object. UserError if weights aren't finite, so that nothing is measured of a broken model.

        If each process has only a part of the weights, these are the weights of the last step at which the run's own looks are
        due (`TrainConfig.looks`, `evaluates`).
        """
        if self.parallel.keeps_all:
            self._refuse_broken_weights()
        return self._copied(self.used).requires_grad_(False).eval()

    def _copied(self, weights: LM) -> LM:
        if self._copy is None:
            self._copy = new_model(self.config, self.corpus, self.device)
        self._copy.load_state_dict(self.parallel.plain(weights).state_dict())
        self._copy.set_progress(self.progress())
        return self._copy

    # --- the loop

    def run(self) -> None:
        """Train to the end, or until `stop`. `LostProcess` if another process was lost; what could be saved is saved."""
        with self.ranks.alone():
            for callback in self.callbacks:
                callback.on_train_begin(self)
        if self.ranks.is_main:
            record_start(self.folder, self.device, self.decisions, self.step, self.changes, self.ranks.size)
        if self.step == 0:
            self._tell(lambda callback: callback.before_first_step(self))
        machine.forget_peak_memory(self.device)
        self.ranks.begin(0.0 if self.decisions.compile == OFF else COMPILING)
        try:
            with self.ranks.explained():
                self._loop()
        except LostProcess:
            self._save_alone()
            raise
        self._batches.close()
        self.peak = machine.peak_memory(self.device)
        for callback in self.callbacks:
            callback.on_train_end(self)

    def _loop(self) -> None:
        train, stop = self.config.train, self.ranks.any(self.stop)
        while not self.done and not stop:
            self.advance()
            if (self.model.flops_change or self.source.flops_change) and self.step % RECOUNT == 0:
                self._count_flops()
            if self.step % train.log_every == 0 or self.done:
                self.log(self.figures())
            self._look()
            # what all know: one process alone must not leave the loop
            stop, self.over = (n > 0 for n in self.ranks.sum(torch.tensor([float(self.stop), float(self.over)])).tolist())
            if self.step % train.checkpoint_every == 0 or self.done or stop:
                self.save()

    def _look(self) -> None:
        """Let the callbacks look."""
        if not self.parallel.keeps_all and (self.config.train.looks(self.step) or self.evaluates):
            self._refuse_broken_weights()
            self.parallel.gather(self.used)
        self._tell(lambda callback: callback.on_step_end(self))

    def _tell(self, what: Callable[[Callback], dict[str, float] | None]) -> None:
        """Tell all callbacks, and log the figures that they return."""
        with self.ranks.alone():
            for callback in self.callbacks:
                if figures := what(callback):
                    self.log(figures)

    def _save_alone(self) -> None:
        """Save after another process was lost, if this is the main process, has all weights, and isn't amid an update."""
        if self.ranks.is_main and self.parallel.keeps_all and not self._in_update and not self._checkpoint.exists():
            self._average()
            self.save()

    def log(self, figures: dict[str, float]) -> None:
        """Record figures of this step."""
        counters = self.counters
        record = {"step": counters.step, "bytes": counters.n_bytes, "seconds": round(counters.spent, 3),
                  "flops": counters.flops, **figures}
        if self.ranks.is_main:
            self.folder.append(self.folder.metrics, record)
        with self.ranks.alone():
            for callback in self.callbacks:
                callback.on_log(self, record)

    def advance(self) -> None:
        """One step."""
        start, train, counters = time.perf_counter(), self.config.train, self.counters
        progress = self._before = self.progress()
        succeed(self.optimizers, self.model.set_progress(progress))
        if self.ema is not None:
            self.ema.set_progress(progress)
        self.objective.set_progress(progress)
        set_learning_rate(self.optimizers, rate_factor(train.schedule, self.step, progress, train.warmup, train.cooldown))
        set_weight_decay(self.optimizers, train.weight_decay_schedule.factor(1 - progress))
        batches = self._batches(self.step)
        count = self._backward(batches)
        norm = scale_and_clip(self.trained, count, train.grad_clip, self.parallel)
        self._sums["grad_norm",].append(exact(torch.stack([norm, torch.ones_like(norm)])[None]))
        if self.device.type == "cpu" or (self.step + 1) % train.log_every == 0:
            self._refuse_broken_gradient(float(norm))
        rows = torch.tensor(sum(batch.inputs.numel() for batch in batches) // train.seq_len)
        read = self.ranks.sum(torch.stack([rows, *(batch.total_bytes for batch in batches)]))
        n_bytes = int(read[1:].sum())
        self._in_update = True
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        counters.step, counters.rows = counters.step + 1, counters.rows + int(read[0])
        counters.n_bytes, counters.flops = counters.n_bytes + n_bytes, counters.flops + n_bytes * counters.flops_per_byte
        counters.spent += time.perf_counter() - start
        self._in_update, self._to_average = False, True
        spent = counters.spent if self.ranks.is_main else 0.0  # the clock of the main process counts
        counters.spent = float(self.ranks.sum(torch.tensor(spent, dtype=torch.double)))
        self._average()

    def _average(self) -> None:
        """Take the weights of the last step into the mean, once. It comes last in a step, because it depends on its time."""
        if self.ema is None or not self._to_average:
            return
        counters, self._to_average = self.counters, False
        moment = Moment(self._before, self.progress(), counters.epochs(self.corpus.train))
        rate = self.config.train.averaging.rate(moment, counters.averaged)
        if rate:
            average(locals_of(self.ema.parameters()), locals_of(self.model.parameters()), rate)
        counters.averaged = 0 if rate is None else counters.averaged + (rate > 0)

    def _backward(self, batches: list[Batch]) -> torch.Tensor:
        """Back-propagate the losses of all micro-batches, which are sums. Returns the count that divides their gradient. What
        the model draws at random is the same in all of them, so it doesn't matter how a step is split.
        """
        counts, seed = [], seed_of_step(self.config.seed, self.step)
        apart = GradientSum(self.trained) if self.decisions.compile == "graphs" and len(batches) > 1 else None
        for number, batch in enumerate(batches, start=1):
            torch.manual_seed(seed)
            with self.parallel.micro_batch(last=number == len(batches)):
                with machine.autocast(self.device, self.decisions.precision):
                    loss = self.parallel.step(batch.to(self.device))
                self.ranks.tick()
                loss.total.backward()
            counts.append(loss.count)
            self._sums[loss.names].append(loss.figures)
            if apart is not None:
                apart.take()
        if apart is not None:
            apart.give()
        return self.ranks.sum(torch.stack(counts).sum())

    def warm_up(self) -> None:
        """Compute a step's gradients and forget them. In its first step DDP learns in which order gradients come, and orders
        its sums anew. So that a run that goes on adds up in the same order, that happens before any step.
        """
        torch.manual_seed(seed_of_step(self.config.seed, self.step))  # all processes have to do the same
        machine.step_work(self.with_loss, self.source.probe(self.step).to(self.device), self.decisions.precision,
                          self.parallel.step)()

    def restart(self, config: RunConfig, total: int | None, counters: Counters) -> None:
        """Go on as a run with this description, of ``total`` steps, that has used so much."""
        self.config, self.total, self.counters = config, total, counters
        self._goal = goal_of(config.train, self.corpus.train, counters.searched)
        self.source.follow(self.progress_at)
        self._sums.clear()
        self._logged_at = (counters.spent, counters.n_bytes)

    def _count_flops(self) -> None:
        """Count FLOPs per byte again. They change when patches or rows get longer, or when more layers become active."""
        for part in (self.model, self.objective):
            self.parallel.gather(part)
        self.counters.flops_per_byte = self.ranks.from_main(self._counted_flops)

    def _counted_flops(self) -> float:
        objective: Any = self.objective if self.parallel.keeps_all else copy.deepcopy(self.parallel.plain(self.objective))
        with_loss = ModelWithLoss(self._copied(self.model).requires_grad_(True).train(), objective.to(self.device))
        batch = self.source.probe(self.step).to(self.device)
        return machine.count_flops(with_loss, batch) / float(batch.total_bytes)

    def _refuse_broken_gradient(self, norm: float) -> None:
        if not math.isfinite(norm):
            raise self._broken(self.step + 1, f"the gradient is {norm}")

    def _refuse_broken_weights(self) -> None:
        averaged = self.ema.parameters() if self.ema is not None else ()
        broken = not all_finite(locals_of([*self.trained, *averaged]))
        if broken if self.parallel.keeps_all else self.ranks.any(broken):
            raise self._broken(self.step, "some weights are not finite any more")

    def _broken(self, step: int, what: str) -> Diverged:
        saved = checkpoint.list_checkpoints(self.folder.checkpoints)
        last = f"{saved[-1].name} is the last good checkpoint" if saved else "there is no checkpoint yet"
        return Diverged(f"step {step}: {what}; {last}; try a lower learning rate (--optim.lr) or a longer warm-up "
                         "(--train.warmup) with --resume")

    def figures(self) -> dict[str, float]:
        """Figures of the steps since the last call."""
        sums: dict[str, list[float]] = {}
        for names, pairs in self._sums.items():
            for name, pair in zip(names, self.ranks.sum(torch.stack(pairs).sum(dim=0)).tolist(), strict=True):
                sums[name] = [one + other for one, other in zip(sums.get(name, (0.0, 0.0)), pair, strict=True)]
        figures = {f"train/{name}": total / count for name, (total, count) in sums.items() if count}
        self._sums.clear()
        spent, n_bytes = self.counters.spent - self._logged_at[0], self.counters.n_bytes - self._logged_at[1]
        self._logged_at = (self.counters.spent, self.counters.n_bytes)
        figures["train/bytes_per_second"] = n_bytes / spent
        peak = self.decisions.peak_flops * self.ranks.size
        figures["train/mfu"] = figures["train/bytes_per_second"] * self.counters.flops_per_byte / peak
        figures["train/progress"] = self.progress()
        figures["train/learning_rate"] = self.config.optim.rate * scale_of(self.optimizers)
        return figures


def seed_of_step(seed: int, step: int) -> int:
    """The seed of what a model draws at random in a step: a pure function, so a run that goes on draws as if undisturbed."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


@torch.no_grad()
def scale_and_clip(parameters: list[nn.Parameter], count: torch.Tensor, most: float, parallel: Parallel) -> torch.Tensor:
    """Divide gradients of a sum by ``count``, and scale them to a norm of at most ``most``, in one pass. Returns the norm after
    the division and before the scaling.
    """
    grads = locals_of(parameter.grad for parameter in parameters if parameter.grad is not None)
    count = torch.where(count == 0, 1, count).to(grads[0].dtype) / parallel.averaged_over
    norm = parallel.norm(grads) / count
    torch._foreach_mul_(grads, (most / (norm + 1e-6)).clamp(max=1.0) / count)
    return norm


def new_model(config: RunConfig, corpus: Corpus, device: torch.device) -> LM:
    """A model for the weights of another one, without compiled code and without gradients."""
    with torch.random.fork_rng(devices=[]):  # its random weights are overwritten; the generator's state is kept
        return LM(config.model, corpus.tokenizer).to(device).requires_grad_(False)
