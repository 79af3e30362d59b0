"""The time of the optimizer's part of a training step, for each optimizer and each way to make it cheaper.

    python -m benchmarks optimizers [--presets demo 10m] [--rounds 3] [--steps 10]

All optimizers take turns on one model, so a step differs in nothing else. A round has as many steps of each as it takes until
all that is done only every few steps was done.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from benchmarks import common
from benchmarks.training import Preset
from stlm.nn.weights import parameters_of
from stlm.optim import OptimConfig, adamw, muon, soap
from stlm.train.loop import Trainer

ADAMW = "adamw"
ARMS: dict[str, OptimConfig] = {
    ADAMW: adamw.Config(), "adamw, cautious": adamw.Config(cautious=True),
    "muon": muon.Config(), "muon, cautious": muon.Config(cautious=True), "muon, normalize": muon.Config(normalize=True),
    "muon, 4 iterations": muon.Config(iterations=4, coefficients="polar_express"),
    "muon, bf16": muon.Config(precision="bf16"),
    "muon, 4 blocks": muon.Config(blocks=4), "muon, 4 blocks, each 5th step whole": muon.Config(blocks=4, every=5),
    "muon, blocks of a row": muon.Config(blocks=2**20),
    "muon, soap outside the trunk": muon.Config(local="soap"), "soap": soap.Config(),
}


class Timed:
    """The optimizers of an arm as one, which notes how long its steps take."""

    def __init__(self, optimizers: list[Optimizer]) -> None:
        self._optimizers, self.seconds = optimizers, 0.0
        self.param_groups = [group for optimizer in optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        start = time.perf_counter()
        for optimizer in self._optimizers:
            optimizer.step()
        self.seconds += time.perf_counter() - start

    def zero_grad(self, set_to_none: bool) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=set_to_none)


def measured(trainer: Trainer, arm: Timed, steps: int) -> dict[str, float]:
    """Milliseconds of a step with this optimizer, and of its own part."""
    arm.seconds = 0.0
    trainer.optimizers = [arm]  # type: ignore[list-item]
    whole = common.timed(lambda: [trainer.advance() for _ in range(steps)])
    return {"step": 1e3 * whole / steps, "optimizer": 1e3 * arm.seconds / steps}


def of_preset(name: str, data: str, rounds: int, steps: int) -> dict[str, Any]:
    """Of each arm: milliseconds of the optimizer, its share of a step, and a step's time relative to AdamW's in the same round.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = Preset(name, data, Path(folder)).trainer
        parameters = parameters_of(trainer.model, trainer.objective)
        slow = {title: dataclasses.replace(arm, lr=1e-6) for title, arm in ARMS.items()}  # nobody spoils the weights for others
        arms = {title: Timed(arm.build(parameters)) for title, arm in slow.items()}
        for arm in arms.values():
            measured(trainer, arm, 2)
        found = [{title: measured(trainer, arm, steps) for title, arm in arms.items()} for _ in range(rounds)]
    return {title: {"milliseconds": common.spread(each[title]["optimizer"] for each in found),
                    "share": common.spread(each[title]["optimizer"] / each[title]["step"] for each in found),
                    "step_relative_to_adamw": common.spread(_relative(each, title) for each in found)} for title in arms}


def _relative(found: dict[str, dict[str, float]], title: str) -> float:
    """A step's time with an optimizer relative to AdamW's. All that isn't the optimizer is the mean of all arms, because it is
    the same work.
    """
    rest = sum(each["step"] - each["optimizer"] for each in found.values()) / len(found)
    return (rest + found[title]["optimizer"]) / (rest + found[ADAMW]["optimizer"])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks optimizers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["demo", "10m"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="steps of each optimizer in a round")
    parser.add_argument("--data", default=common.real_text("wikipedia_en_2015"))
    given = parser.parse_args(arguments)
    record: dict[str, Any] = {"question": "Which share of a training step is the optimizer?", "presets": {}}
    for preset in given.presets:
        with common.CONSOLE.status(f"timing {preset}"):
            record["presets"][preset] = of_preset(preset, given.data, given.rounds, given.steps)
        common.save("optimizers", record)
        common.print_table(
            f"{preset}: the optimizer's part of a step", ["", "ms", "of the step", "step, relative to adamw"],
            ([title, f"{arm['milliseconds']['mean']:.1f}", f"{arm['share']['mean']:.1%}",
              common.shown(arm["step_relative_to_adamw"])] for title, arm in record["presets"][preset].items()))
