"""The training loop."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from pathlib import Path

import torch

from stlm.data.batch import Batch
from stlm.data.prefetch import Prefetch
from stlm.data.shards import Corpus
from stlm.data.stream import Stream
from stlm.errors import UserError
from stlm.model.init_from import init_from
from stlm.model.lm import LM, ends_of_bytes
from stlm.optim import set_learning_rate
from stlm.optim.schedule import scale
from stlm.train import checkpoint, machine
from stlm.train.checkpoint import Checkpoint
from stlm.train.decisions import Decisions, decide
from stlm.train.folder import RunFolder, find_checkpoint
from stlm.train.run_config import RunConfig


class Callback:
    """Something that watches a run: it may look at the trainer and yield figures, but it changes nothing."""

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first step."""

    def on_step_end(self, trainer: Trainer) -> dict[str, float] | None:
        """After every step; figures that it returns are logged."""

    def on_log(self, trainer: Trainer, figures: dict[str, float]) -> None:
        """After a line of figures was logged."""

    def on_train_end(self, trainer: Trainer) -> None:
        """After the last step, also of a run that was asked to stop."""


class Trainer:
    """One run: everything that a checkpoint holds, and the step that moves it on.

    total: steps of the whole run; None where it is given minutes or FLOPs. step: steps done. spent: seconds spent in steps.
    n_bytes: bytes of text trained on, repetitions included. flops: floating-point operations spent on them; flops_per_byte:
    at present, for it may change as patches or layers do. peak: bytes of memory held at most, once it has run. stop: set it to
    end after the step in progress; a checkpoint is saved.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, corpus: Corpus, device: torch.device,
                 callbacks: list[Callback], resume: Checkpoint | None = None) -> None:
        self.folder, self.config, self.corpus, self.device, self.callbacks = folder, config, corpus, device, callbacks
        torch.manual_seed(config.seed)
        self.model = LM(config.model, corpus.tokenizer)
        if resume is None:
            self.model.load_frozen(lambda run, part: find_checkpoint(run).load_model(part, averaged=True))
            if config.train.init_from is not None:
                begun = find_checkpoint(config.train.init_from)
                if begun.tokenizer.token_bytes != corpus.tokenizer.token_bytes:
                    raise UserError(f"train.init_from: the tokens of {config.train.init_from} aren't those of this text; choose the "
                                    "same tokenizer, and the same text where the tokenizer is learned from it")
                init_from(self.model, begun.build_model())
        self.model.to(device)
        self.objective = config.objective.build()
        self.optimizers = config.optim.build(self.model)
        self.ema = _copy(self.model, config, corpus) if config.train.ema else None
        self.stream = Stream(corpus.train, corpus.tokenizer, config.train.seq_len, config.train.batch_size // config.train.grad_accum,
                             config.seed, boundaries=ends_of_bytes(self.model.patching, corpus.tokenizer.bos))
        # on a CPU, making the next batch would take from the step in progress
        self._batches = self.micro_batches if device.type == "cpu" else Prefetch(self.micro_batches)
        self.step, self.spent, self.n_bytes, self.flops, self.peak, self.stop = 0, 0.0, 0, 0.0, 0, False
        self.model.set_progress(0.0)
        self.decisions: Decisions = decide(self)
        self.flops_per_byte = self.decisions.flops_per_byte
        torch.manual_seed(config.seed)  # measuring has drawn numbers
        if resume is not None:
            self._restore(resume)
        self.total = None if config.train.teraflops else self.steps_of_run(self.flops_per_byte)
        self._sums: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._logged_at = (self.spent, self.n_bytes)

    # --- what is saved and restored

    def _restore(self, saved: Checkpoint) -> None:
        counters = saved.counters
        if counters["corpus"] != self.corpus.contents:
            raise UserError(f"{self.config.data.source}: the text is not the one that {saved.folder} was trained on; "
                            "put it back, or train anew under another --name")
        saved.load_model(self.model)
        if self.ema is not None:
            saved.load_model(self.ema, averaged=True)
        states = saved.optimizer()["optimizers"]
        for optimizer, state in zip(self.optimizers, states, strict=True):
            chosen = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
            optimizer.load_state_dict(state)
            for group, settings in zip(optimizer.param_groups, chosen, strict=True):
                group.update(settings)  # a run may go on with another learning rate
        torch.set_rng_state(saved.optimizer()["rng"])
        self.step, self.spent, self.n_bytes = counters["step"], counters["spent"], counters["n_bytes"]
        self.flops, self.flops_per_byte = counters["flops"], counters["flops_per_byte"]
        self.folder.rewind(self.step)

    def save(self) -> Path:
        """Save a checkpoint of this step; older ones than `keep` are deleted."""
        path = self.folder.checkpoints / f"step_{self.step:07d}"
        counters = {"step": self.step, "spent": self.spent, "n_bytes": self.n_bytes, "flops": self.flops,
                    "flops_per_byte": self.flops_per_byte, "corpus": self.corpus.contents, "fraction": self.fraction()}
        state = {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers], "rng": torch.get_rng_state()}
        checkpoint.save(path, self.config, self.corpus.tokenizer, self.model, self.ema, state, counters)
        checkpoint.prune(self.folder.checkpoints, self.config.train.keep)
        return path

    def usable_model(self) -> LM:
        """A copy of the model on the CPU or GPU that looks and writing may use freely: averaged weights if there are."""
        copy = _copy(self.ema or self.model, self.config, self.corpus).eval()
        copy.set_progress(self.fraction())
        return copy

    # --- the loop

    @property
    def done(self) -> bool:
        return self.fraction() >= 1

    def fraction(self) -> float:
        """How much of the run is over, 0 to 1."""
        train = self.config.train
        if self.total is not None:
            return min(1.0, self.step / self.total)
        if train.teraflops is not None:
            return min(1.0, self.flops / train.teraflops / 1e12)
        return min(1.0, self.spent / (train.minutes or math.inf) / 60)

    def run(self) -> None:
        """Train to the end, or until `stop`."""
        for callback in self.callbacks:
            callback.on_train_begin(self)
        saved_at = self.step
        machine.forget_peak_memory(self.device)
        while not self.done and not self.stop:
            self.advance()
            if self.step % self.config.train.evaluate_every == 0:
                self._count_flops()
            if self.step % self.config.train.log_every == 0 or self.done:
                self.log(self._figures())
            for callback in self.callbacks:
                if figures := callback.on_step_end(self):
                    self.log(figures)
            if self.step % self.config.train.checkpoint_every == 0 or self.done or self.stop:
                saved_at = self.step
                self.save()
        if saved_at != self.step:
            self.save()
        self.peak = machine.peak_memory(self.device)
        for callback in self.callbacks:
            callback.on_train_end(self)

    def log(self, figures: dict[str, float]) -> None:
        """Record figures of this step."""
        record = {"step": self.step, "bytes": self.n_bytes, "seconds": round(self.spent, 3), "flops": self.flops, **figures}
        self.folder.append(self.folder.metrics, record)
        for callback in self.callbacks:
            callback.on_log(self, record)

    def steps_of_run(self, flops_per_byte: float) -> int | None:
        """How many steps the run's length comes to, at so many FLOPs a byte; None where only the clock knows."""
        train, shard = self.config.train, self.corpus.train
        tokens = len(shard.tokens) + shard.n_documents
        bytes_per_step = train.batch_size * train.seq_len * shard.n_bytes / tokens
        if train.megabytes is not None:
            return max(1, round(1e6 * train.megabytes / bytes_per_step))
        if train.teraflops is not None:
            return max(1, round(1e12 * train.teraflops / flops_per_byte / bytes_per_step))
        return train.steps

    def micro_batches(self, step: int) -> list[Batch]:
        """The batches of one step, on the CPU."""
        n = self.config.train.grad_accum
        return [self.stream.batch(step * n + i) for i in range(n)]

    def advance(self) -> None:
        """One step."""
        start = time.perf_counter()
        fraction = self.fraction()
        self.model.set_progress(fraction)
        set_learning_rate(self.optimizers, scale(self.step, self.config.train.warmup, fraction, self.config.train.cooldown))
        batches = self._batches(self.step)
        whole = sum(float(batch.weights.sum()) for batch in batches)
        for batch in batches:
            share = float(batch.weights.sum()) / whole
            with machine.autocast(self.device, self.decisions.precision):
                loss = self.objective(self.model, batch.to(self.device))
            (loss.total * share).backward()
            for name, pair in loss.metrics.items():
                self._sums[name].append(torch.stack([item.double() for item in pair]))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.grad_clip)
        self._sums["grad_norm"].append(torch.stack([norm.double(), torch.ones_like(norm, dtype=torch.double)]))
        if self.device.type == "cpu" or (self.step + 1) % self.config.train.log_every == 0:
            self._refuse_non_finite(float(norm))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            average, current = list(self.ema.parameters()), list(self.model.parameters())
            torch._foreach_lerp_([p.data for p in average], [p.data for p in current], 1 - self.config.train.ema)
        self.step += 1
        n_bytes = sum(int(batch.weighted_bytes) for batch in batches)
        self.n_bytes, self.flops = self.n_bytes + n_bytes, self.flops + n_bytes * self.flops_per_byte
        self.spent += time.perf_counter() - start

    def _count_flops(self) -> None:
        """What a byte costs from now on: learned patches grow, layers that come late have come."""
        model = _copy(self.model, self.config, self.corpus).requires_grad_(True)
        model.set_progress(self.fraction())
        batch = self.stream.batch(self.step * self.config.train.grad_accum).to(self.device)
        self.flops_per_byte = machine.count_flops(model, self.objective, batch) / float(batch.weighted_bytes)

    def _refuse_non_finite(self, norm: float) -> None:
        if math.isfinite(norm):
            return
        whole = checkpoint.list_checkpoints(self.folder.checkpoints)
        last = f"{whole[-1].name} is the last good checkpoint" if whole else "there is no checkpoint yet"
        raise UserError(f"step {self.step + 1}: the gradient is {norm}; {last}; try a lower learning rate "
                        f"(--optim.lr) or a longer warm-up (--train.warmup)"
                        + (" with --resume" if whole else ""))

    def _figures(self) -> dict[str, float]:
        """Figures of the steps since the last call."""
        figures: dict[str, float] = {}
        for name, pairs in self._sums.items():
            total, count = torch.stack(pairs).sum(dim=0).tolist()
            figures[f"train/{name}"] = total / max(count, 1)
        self._sums.clear()
        spent, n_bytes = self.spent - self._logged_at[0], self.n_bytes - self._logged_at[1]
        self._logged_at = (self.spent, self.n_bytes)
        figures["train/bytes_per_second"] = n_bytes / spent
        figures["train/mfu"] = figures["train/bytes_per_second"] * self.flops_per_byte / self.decisions.peak_flops
        figures["train/learning_rate"] = self.optimizers[0].param_groups[0]["lr"]
        return figures


def _copy(model: LM, config: RunConfig, corpus: Corpus) -> LM:
    """An eager model with the same weights: compiled code and gradients stay behind."""
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are thrown away, and so is their randomness
        copy = LM(config.model, corpus.tokenizer).to(model.device)
    copy.load_state_dict(model.state_dict())
    return copy.requires_grad_(False)
