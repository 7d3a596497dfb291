"""Standard errors of Owen values: how far the divisions that are still to come may take them."""

import numpy as np
from numpy.typing import NDArray

from expound_worker.perturbation.hierarchy import context_counts
from expound_worker.perturbation.paired_weights import widened

_COMMON = 0.6
"""Share of the variance of a group's divisions that all its contexts have in common, as long as no
group is divided in several. With random networks it was 0.5 to 0.7."""
_GROUPS = 8
"""What is supposed of that share counts as much as so many groups."""


class OwenErrors:
    """What the divisions so far say about those that are to come.

    A division gives a half what it has beyond an equal share of the group's value, its excess.
    Groups that are not divided in all contexts count as without excess in the others, and that is
    all the error there is: with the excess ``E(g, c)`` of the first half of group g in context c,

        error of segment i = sum over groups g of i of ±1/|half of i| mean over c of E(g, c),

    where only the c in which g is not divided count. Were segments independent of one another with
    variance ``v``, an excess would have the variance ``v |first| |second| / |g|``. Divided by that
    without v, excesses were indeed equally large at all sizes in networks' scores. So v is the mean
    of their squares, of each divided group its mean over contexts, and intervals are by Student's t
    with as many degrees of freedom as groups. Excesses of one group in several contexts share a
    part of their variance: those seen tell something about the others (random effects).

    In 338 games of 16 to 64 segments, probabilities of photos by random networks, 1.96 standard
    errors to both sides held 94 % to 99 % of the values of complete runs, in single kinds of game
    86 % to 100 %, from the first division on, and no fewer where image and baseline both had a
    probability within 0.01 of 0. From 10 evaluations on they were 1.3 to 1.7 times the root mean
    square error. In 20 games of EfficientNet-Lite0 they held 94 % to 100 % and were 1.5 to 3 times
    that, for it is groups of large value that are divided. Of scores that add up or have no pattern
    they held 93 % to 100 %. With 256 and 1024 segments they held 93 % to 100 % and were 2 to 4
    times that.
    """

    def __init__(self, linkage: NDArray[np.float64], target_count: int) -> None:
        """Begins without divisions of the (M - 1, 4) hierarchy, in SciPy's form."""
        self._halves = linkage[:, :2].astype(np.int64)
        sizes = np.concatenate([np.ones(len(linkage) + 1), linkage[:, 3]])
        self._sizes = sizes[self._halves]
        self._contexts = context_counts(linkage)
        self._divided = np.zeros(len(linkage))
        self._sums = np.zeros((len(linkage), target_count))
        self._squares = np.zeros_like(self._sums)

    def add(self, row: int, first: NDArray[np.float64], both: NDArray[np.float64]) -> None:
        """Takes in that the group of a row is divided in a context.

        Args:
            row: its row in the hierarchy.
            first: (T,) value of its first half.
            both: (T,) its own value.
        """
        size, other = self._sizes[row]
        share = size / (size + other)
        excess = (first - share * both) / np.sqrt(share * other)
        self._divided[row] += 1
        self._sums[row] += excess
        self._squares[row] += excess**2

    def __call__(self) -> NDArray[np.float64] | None:
        """(M, T) standard errors, 0 where nothing is left to divide; None without divisions."""
        if not self._divided.any():
            return None
        parts = self._missing()[:, None, :] * self._shares()[:, :, None]
        variances = np.zeros((2 * len(parts) + 1, parts.shape[2]))
        for row in range(len(parts) - 1, -1, -1):
            variances[self._halves[row]] = variances[len(parts) + 1 + row] + parts[row]
        errors = np.sqrt(variances[: len(parts) + 1])
        return widened(errors, int(np.count_nonzero(self._divided)))

    def _missing(self) -> NDArray[np.float64]:
        """(M - 1, T) mean square of what a group's mean excess over all contexts still lacks."""
        divided = self._divided[:, None]
        seen = self._divided > 0
        variance = (self._squares[seen] / divided[seen]).mean(axis=0)
        left = self._contexts[:, None] - divided
        common = self._common(variance)
        trust = divided * common / (divided * common + 1 - common)
        expected = trust * self._sums / np.maximum(divided, 1)
        spread = common * (1 - trust) + (1 - common) / np.maximum(left, 1)
        share = left / self._contexts[:, None]
        missing: NDArray[np.float64] = share**2 * (expected**2 + variance * spread)
        return missing

    def _common(self, variance: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T,) share of the variance that the contexts of a group have in common, below 1."""
        several = self._divided > 1
        divided, squares = self._divided[several, None], self._squares[several]
        products = (self._sums[several] ** 2 - squares) / (divided * (divided - 1))
        common = _GROUPS * _COMMON * variance + products.sum(axis=0)
        total = _GROUPS * variance + (squares / divided).sum(axis=0)
        share: NDArray[np.float64] = np.maximum(common, 0) / np.where(total > 0, total, 1)
        return share

    def _shares(self) -> NDArray[np.float64]:
        """(M - 1, 2) square of what a segment of each half has of the excess, in its unit."""
        others, both = self._sizes[:, ::-1], self._sizes.sum(axis=1, keepdims=True)
        shares: NDArray[np.float64] = others / (self._sizes * both)
        return shares
