"""The size ladder: whole runs as functions. Each name is its count of unique parameters, within 3 %."""

from __future__ import annotations

from collections.abc import Callable

from stlm.model.config import ModelConfig
from stlm.optim import adamw
from stlm.train.config import RunConfig, TrainConfig


def demo() -> RunConfig:
    """About 2.6M parameters for three minutes on two CPU cores."""
    return RunConfig(
        model=ModelConfig(dim=256, layers=3, heads=4, kv_heads=4, local_dim=128, encoder_layers=1, decoder_layers=2),
        optim=adamw.Config(lr=4e-3),
        train=TrainConfig(minutes=3.0, seq=512, rows=8, warmup=50, decay=0.6, sample_every=250, evaluate_every=100))


PRESETS: dict[str, Callable[[], RunConfig]] = {"demo": demo}
