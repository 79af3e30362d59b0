"""Warm-up, stable, decay (Hägele et al. 2024, arXiv 2405.18392): the learning rate as a multiple of its peak."""


def scale(step: int, warmup: int, fraction: float, decay: float) -> float:
    """The learning rate of step ``step`` (from 0) as a multiple of its peak: linear up, flat, linear down to zero.

    fraction: how much of the run is over, 0 to 1, in steps or, where a run is given minutes, in seconds; decay: the last share
    of the run, in which the rate falls.
    """
    up = min(1.0, (step + 1) / (warmup + 1))
    return min(up, (1 - fraction) / decay) if decay > 0 else up
