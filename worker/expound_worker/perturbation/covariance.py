"""The covariance of scores over coalitions, and what a functional of the score has with it.

Symbols: a coalition ``z`` is written with its signs, ``s = 2 z - 1``; ``h`` is the number of
segments in which two coalitions differ, and ``k`` the size of one. All segments are treated alike,
so that everything follows from ``h`` and both sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from expound_worker.perturbation.functionals import Functional, log_binomial

_REACH = 10.0
"""How fast scores grow unlike: what is common to two coalitions that differ in a share u of the
segments falls as ``exp(-10 u)``."""
_SIZE_REACH = 0.2
"""Share of the segments over which the effect of a coalition's size changes."""
_LINEAR = 1.0
_LINEAR_BY_SIZE = 1.0
_SIZE_ODD = 3.0
_CONSTANT = 10.0
_PAIRWISE = 1.0
_SIZE_EVEN = 1.0
ROUGH = 0.03
"""Variance of what no other coalition tells anything of."""
_TAILS = 8
"""Standard deviations of a hypergeometric number beyond which it is not summed."""
_NODES = 129
"""Sizes for which the weights of an observation are summed; those between are interpolated."""


class Parity(IntEnum):
    """Which part of a score: that which complements have in common, or the other."""

    EVEN = 1
    ODD = -1


class Covariance:
    """Covariance of one part of a score at two coalitions, without the rough part."""

    def __init__(self, segment_count: int, parity: Parity) -> None:
        self._segment_count = segment_count
        shares = np.arange(segment_count + 1) / segment_count
        smooth = np.exp(-_REACH * shares)
        smooth = (smooth + parity * smooth[::-1]) / (1 + parity * smooth[-1])
        alike = 1 - 2 * shares  # the product of the signs, by the segment
        near = np.exp(-(((shares[:, None] - shares) / _SIZE_REACH) ** 2) / 2)
        mirrored = near[:, ::-1]
        self._linear_by_sizes: NDArray[np.float64] | None = None
        if parity is Parity.ODD:
            self._by_difference = smooth + _LINEAR * alike
            self._by_sizes = _SIZE_ODD * (near - mirrored)
            self._linear_by_sizes = _LINEAR_BY_SIZE / 2 * (near + mirrored)
        else:
            self._by_difference = smooth + _CONSTANT + _PAIRWISE * alike**2
            self._by_sizes = _SIZE_EVEN * (near + mirrored)
        self._alike = alike

    def __call__(
        self, first: NDArray[np.float64], second: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(n, m) covariances of coalitions given by their signs (n, M) and (m, M)."""
        differences = ((self._segment_count - first @ second.T) / 2).astype(np.int64)
        rows, columns = _sizes(first), _sizes(second)
        return self._sum(differences, lambda by_sizes: by_sizes[rows][:, columns])

    def of(
        self, differences: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Covariances by the number of differences and by both sizes, in one shape."""
        return self._sum(differences, lambda by_sizes: by_sizes[first, second])

    def _sum(
        self,
        differences: NDArray[np.int64],
        chosen: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """Of what goes by differences, and what by sizes; `chosen` reads a table of these."""
        covariances: NDArray[np.float64] = self._by_difference[differences]
        covariances += chosen(self._by_sizes)
        if self._linear_by_sizes is not None:
            covariances += self._alike[differences] * chosen(self._linear_by_sizes)
        return covariances


@dataclass(frozen=True)
class Effects:
    """What a functional makes of the covariance of one coalition's observation with all coalitions.

    Those of covariances that are 1 for a coalition and itself alone are the coalition's `own`: how
    much its pair's part of the score adds to each weight.

    Attributes:
        inside: (M + 1,) by the coalition's size: the weight of a segment that it holds.
        outside: (M + 1,) the weight of one that it does not hold.
        prior_variance: variance of a weight without any observation.
    """

    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    prior_variance: float

    @staticmethod
    @lru_cache(maxsize=64)
    def of(functional: Functional, parity: Parity) -> "Effects":
        """Sums them; the same functional's are kept."""
        segment_count = functional.segment_count
        sums = _Sums(functional, Covariance(segment_count, parity))
        nodes = np.unique(np.linspace(0, segment_count, _NODES).round().astype(np.int64))
        at_nodes = np.array([sums.of(int(size)) for size in nodes])
        sizes = np.arange(segment_count + 1)
        smooth = [np.interp(sizes, nodes, column) for column in at_nodes.T]
        own = Effects.own(functional, parity)
        inside, outside = np.array(smooth) + ROUGH * np.array([own.inside, own.outside])
        return Effects._by_size(functional, inside, outside)

    @staticmethod
    @lru_cache(maxsize=64)
    def own(functional: Functional, parity: Parity) -> "Effects":
        """Those of a coalition and its complement, which have one part of the score."""
        of_each = np.exp(-log_binomial(functional.segment_count))
        inside, outside = (share * of_each for share in functional.share_by_size())
        held, not_held = inside + parity * outside[::-1], outside + parity * inside[::-1]
        return Effects._by_size(functional, held, not_held)

    @staticmethod
    def _by_size(
        functional: Functional, inside: NDArray[np.float64], outside: NDArray[np.float64]
    ) -> "Effects":
        prior = functional.inside @ inside + functional.outside @ outside
        return Effects(inside, outside, float(prior))

    def __call__(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, M) weights that go with each of n masks."""
        sizes = masks.sum(axis=1)
        weights: NDArray[np.float64] = np.where(
            masks, self.inside[sizes, None], self.outside[sizes, None]
        )
        return weights


class _Sums:
    """Sums a functional over all coalitions, by how many segments they share with a given one.

    Of coalitions of size k, the number a that they share with one of size A is hypergeometric.
    """

    def __init__(self, functional: Functional, covariance: Covariance) -> None:
        self._count = functional.segment_count
        self._inside, self._outside = functional.share_by_size()
        self._covariance = covariance
        self._logarithms = gammaln(np.arange(self._count + 1) + 1.0)  # of the factorials

    def of(self, size: int) -> tuple[float, float]:
        """Weight of a segment in a coalition of this size, and of one that is not in it."""
        count, log = self._count, self._logarithms
        sizes = np.arange(count + 1)[:, None]
        width = int(_TAILS * np.sqrt(count) / 4) + 2
        shared = (size * sizes) // count + np.arange(-width, width + 1)
        possible = (shared >= np.maximum(0, size + sizes - count)) & (
            shared <= np.minimum(size, sizes)
        )
        sizes, shared = (array[possible] for array in np.broadcast_arrays(sizes, shared))
        alone, others = sizes - shared, count - size - sizes + shared
        probabilities = np.exp(
            (log[size] - log[shared] - log[size - shared])
            + (log[count - size] - log[alone] - log[others])
            - (log[count] - log[sizes] - log[count - sizes])
        )
        covariances = self._covariance.of(size - shared + alone, sizes, np.array(size))
        terms = probabilities * covariances
        inside, outside = self._inside[sizes], self._outside[sizes]
        held = terms @ (inside * shared + outside * (size - shared))
        not_held = terms @ (inside * alone + outside * others)
        return held / max(size, 1), not_held / max(count - size, 1)


def signs_of(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, M) 1 where a segment is kept, -1 elsewhere."""
    signs: NDArray[np.float64] = np.where(masks, 1.0, -1.0)
    return signs


def _sizes(signs: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) sizes of the coalitions."""
    sizes: NDArray[np.int64] = ((signs.shape[1] + signs.sum(axis=1)) / 2).astype(np.int64)
    return sizes
