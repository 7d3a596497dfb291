"""Which segments keep a weight in LIME, and what it is without the others."""

import numpy as np
from numpy.typing import NDArray

from expound_worker.perturbation.functionals import LimeMasks

_FORWARD = 6
"""Up to so many are chosen one after the other by lime's "auto", and more by their weights."""


def most_influential(
    slopes: NDArray[np.float64], count: int, masks: LimeMasks
) -> NDArray[np.float64]:
    """Chooses segments and fits again, as lime would over all masks.

    Args:
        slopes: (M,) of all segments.
        count: how many keep a weight.
        masks: what the slopes were fitted on.

    Returns:
        (M,) slopes of a fit of the chosen segments alone, and 0 elsewhere.
    """
    if count >= len(slopes):
        return slopes
    chosen = (
        _forward(slopes, count, masks)
        if count <= _FORWARD
        else np.argsort(-np.abs(slopes), kind="stable")[:count]
    )
    refitted = np.zeros_like(slopes)
    left_out = slopes.sum() - slopes[chosen].sum()
    refitted[chosen] = slopes[chosen] + left_out * _taken_over(count, masks)
    return refitted


def _taken_over(count: int, masks: LimeMasks) -> float:
    """What each of `count` segments takes over of the slopes of those left out.

    All segments have one variance and one covariance, and so each takes over the same.
    """
    return masks.covariance / (masks.variance + count * masks.covariance)


def _forward(slopes: NDArray[np.float64], count: int, masks: LimeMasks) -> NDArray[np.int64]:
    """Forward selection: next is the segment with which a fit explains most."""
    with_score = masks.variance * slopes + masks.covariance * slopes.sum()
    chosen: list[int] = []
    for size in range(1, count + 1):
        sums = slopes[chosen].sum() + slopes
        extra = (slopes.sum() - sums) * _taken_over(size, masks)
        explained = with_score * slopes + extra * (with_score[chosen].sum() + with_score)
        explained[chosen] = -np.inf
        chosen.append(int(explained.argmax()))
    return np.array(chosen)
