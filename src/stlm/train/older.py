"""Descriptions of runs that older versions have written, in today's words. The weights beside them are the same."""

from __future__ import annotations

from typing import Any


def in_todays_words(values: Any) -> Any:
    """A run's description as it was read from a file. What isn't one stays as it is, for the decoder to refuse.

    ``train.ema``, a decay or 0, became the slot ``train.averaging``.
    """
    train = values.get("train") if isinstance(values, dict) else None
    if not isinstance(train, dict) or "ema" not in train or "averaging" in train:
        return values
    train = dict(train)
    decay = train.pop("ema")
    return {**values, "train": {**train, "averaging": {"kind": "ema", "decay": decay} if decay else {"kind": "none"}}}
