"""Numbers as a reader wants them: few digits, and a unit that fits, so that nothing small is shown as 0."""

from __future__ import annotations

import math

PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def digits(value: float, significant: int = 3) -> str:
    """``value`` with so many significant digits, without an exponent. No digit before the decimal point is lost."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    after = significant - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, after)  # 9.996 becomes 10.0, which has one digit more before the point
    after = significant - 1 - math.floor(math.log10(abs(rounded))) if rounded else after
    return f"{rounded:,.{min(12, max(0, after))}f}"


def prefix(value: float) -> tuple[float, str]:
    """The size of the unit that fits ``value``, and its prefix: (1e6, "M") for a few millions."""
    return next(((size, name) for size, name in PREFIXES if abs(value) >= size), (1.0, ""))


def quantity(value: float, unit: str) -> str:
    """``value`` with a unit that fits: 3.42 GFLOPs."""
    size, name = prefix(value)
    return f"{digits(value / size)} {name}{unit}"


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours: 42 s, 3.2 minutes, 12 hours."""
    size, unit = next(((size, unit) for size, unit in ((3600, "hours"), (60, "minutes")) if seconds >= 1.5 * size), (1, "s"))
    return f"{digits(seconds / size, 2)} {unit}"
