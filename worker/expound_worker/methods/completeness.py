"""Completeness: how far the values of a map are from adding up to what they must add up to."""

import math

SMALLEST_SHARE = 1e-3
"""A difference of two scores counts as at least this share of the larger of them: nearer ones agree
to so many digits that the rounding of the network outweighs what is left."""


def completeness_error(delta: float, output: float, baseline_output: float) -> float:
    """The size of a convergence delta, relative to the difference that the values must add up to.

    ``|delta| / max(|f(x) - f(b)|, SMALLEST_SHARE * max(|f(x)|, |f(b)|))``.

    Args:
        delta: ``sum(values) - (output - baseline_output)``, in units of the score.
        output: the score at the input, ``f(x)``.
        baseline_output: the score at the baseline, ``f(b)``.

    Returns:
        The relative error, 0 or more; 0 where delta is 0, and infinity where both scores are 0 and
        delta is not.
    """
    if delta == 0:
        return 0.0
    floor = SMALLEST_SHARE * max(abs(output), abs(baseline_output))
    difference = max(abs(output - baseline_output), floor)
    return abs(delta) / difference if difference else math.inf
