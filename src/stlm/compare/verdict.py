"""What a comparison says about each arm, in a sentence."""

from __future__ import annotations

from typing import Any

from stlm.compare.statistics import shown_p

LEVEL = 0.05  # a p-value below this counts as a difference


def verdicts(record: dict[str, Any]) -> list[str]:
    """A sentence for each arm but the baseline, the best arm first. Empty as long as the baseline has no finished run."""
    base = record["arms"].get(record["baseline"])
    others = sorted(((arm, found) for arm, found in record["arms"].items() if arm != record["baseline"]),
                    key=lambda item: item[1]["mean"])
    return [f"{arm}: {_verdict(found, record['baseline'], base)}" for arm, found in others] if base else []


def _verdict(found: dict[str, Any], baseline: str, base: dict[str, Any]) -> str:
    change = f"{100 * found['mean'] / base['mean'] - 100:+.1f} % bits per byte"
    p = found["p"].get(baseline)
    if p is None:
        return f"{change} against {baseline}; with one seed nothing can be said about chance"
    n = f"n = {len({one['seed'] for one in found['seeds']} & {one['seed'] for one in base['seeds']})}"
    shown = f"p {shown_p(p)}" if p < 0.001 else f"p = {shown_p(p)}"
    if p >= LEVEL:
        return f"no difference from {baseline} shown ({change}, {shown}, {n})"
    return f"{'better' if found['mean'] < base['mean'] else 'worse'} than {baseline} ({change}, {shown}, {n})"
