"""What each segment's weight is, as a sum over all coalitions: Shapley's values, and LIME's slopes.

Both treat all segments alike, so that what a coalition adds to a segment's weight depends on the
coalition's size alone, and on whether the segment is in it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln


@dataclass(frozen=True, eq=False)
class Functional:
    """Weights of M segments, linear in the scores ``f(z)`` of the coalitions ``z``.

    The weight of segment i is the sum over sizes k of ``inside[k]`` times the mean score of the
    coalitions of that size that hold i, and ``outside[k]`` times that of those that do not.

    Attributes:
        inside: (M + 1,) by size; 0 for size 0.
        outside: (M + 1,) by size; 0 for size M.
    """

    inside: NDArray[np.float64]
    outside: NDArray[np.float64]

    @property
    def segment_count(self) -> int:
        """M."""
        return len(self.inside) - 1

    def shares(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, M) ``v(z)``: the weights are the sum over sizes of the mean of ``f(z) v(z)``."""
        sizes = masks.sum(axis=1)
        inside, outside = self.share_by_size()
        shares: NDArray[np.float64] = np.where(masks, inside[sizes, None], outside[sizes, None])
        return shares

    def share_by_size(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(M + 1,) entries of ``v(z)``, of the segments in ``z`` and of the others."""
        sizes = np.arange(self.segment_count + 1)
        kept = np.maximum(sizes, 1) / self.segment_count
        return self.inside / kept, self.outside / kept[::-1]


@lru_cache(maxsize=64)
def shapley_values(segment_count: int) -> Functional:
    """Shapley's values (Shapley, 1953): a segment's mean change, over all orders of coming."""
    share = np.full(segment_count + 1, 1 / segment_count)
    inside, outside = share.copy(), -share
    inside[0] = outside[-1] = 0.0
    return Functional(inside, outside)


@lru_cache(maxsize=64)
def lime_slopes(segment_count: int, kernel_width: float) -> Functional:
    """LIME's slopes: what its regression gives for all the masks there are, without a penalty.

    The slopes ``b`` minimise ``sum k(z) (f(z) - a - z.b)^2`` over all ``z``, with the kernel
    ``k(z) = sqrt(exp(-d(z)^2 / kernel_width^2))`` on the cosine distance
    ``d(z) = 1 - sqrt(|z| / M)``. Under ``k`` as probabilities the segments all have one variance
    and one covariance, so that the normal equations ``cov(z, z) b = cov(z, f)`` are solved at once.
    """
    mask = LimeMasks.of(segment_count, kernel_width)
    sizes = np.arange(segment_count + 1)
    kept = sizes / segment_count
    mean, variance = mask.probabilities @ kept, mask.variance
    common = mask.covariance / (variance + segment_count * mask.covariance)
    common_part = common * (sizes - segment_count * mean)
    inside = mask.probabilities * kept * (1 - mean - common_part) / variance
    outside = mask.probabilities * (1 - kept) * (-mean - common_part) / variance
    return Functional(inside, outside)


@dataclass(frozen=True, eq=False)
class LimeMasks:
    """All masks, weighted by LIME's kernel.

    Attributes:
        probabilities: (M + 1,) share of the masks of each size in the weight of all.
        covariance: of two segments' being kept.
        variance: of one's being kept, less that covariance.
    """

    probabilities: NDArray[np.float64]
    covariance: float
    variance: float

    @staticmethod
    @lru_cache(maxsize=64)
    def of(segment_count: int, kernel_width: float) -> "LimeMasks":
        """Those of M segments."""
        sizes = np.arange(segment_count + 1)
        distances = 1 - np.sqrt(sizes / segment_count)
        logarithms = log_binomial(segment_count) - (distances / kernel_width) ** 2 / 2
        probabilities = np.exp(logarithms - logarithms.max())
        probabilities /= probabilities.sum()
        kept = sizes / segment_count
        mean = float(probabilities @ kept)
        both = float(probabilities @ (kept * (sizes - 1))) / (segment_count - 1)
        return LimeMasks(probabilities, both - mean**2, mean - both)


def log_binomial(count: int) -> NDArray[np.float64]:
    """(count + 1,) logarithm of the number of masks of each size."""
    sizes = np.arange(count + 1)
    logarithms: NDArray[np.float64] = (
        gammaln(count + 1) - gammaln(sizes + 1) - gammaln(count - sizes + 1)
    )
    return logarithms
