"""What a surrogate leaves over of a functional, measured on pairs that it has not seen."""

import numpy as np
from numpy.typing import NDArray

from expound_worker.perturbation.functionals import Functional
from expound_worker.perturbation.paired_designs import lesser_sizes, pairs_of_size

_FEWEST = 8
"""Pairs from which on a spread is known."""


class Residuals:
    """A functional of the residuals of a surrogate, by sampling: unbiased, whatever they are.

    Pairs are drawn without replacement within their size, so that the estimate is that of
    stratified sampling with its finite-population correction (Cochran, 1977, chapter 5): the sum
    over sizes of the share of pairs that the surrogate has not seen, times the mean of
    ``r(z) v(z)`` over those drawn of them.
    """

    def __init__(
        self,
        functional: Functional,
        parities: NDArray[np.int64],
        seen: NDArray[np.bool_],
        target_count: int,
    ) -> None:
        """Begins without pairs; the surrogate has `seen` (n, M), and is exact there.

        Args:
            functional: what is estimated.
            parities: (parts,) parts of the score that it is asked of.
            seen: (n, M) one mask of each pair that the surrogate has learned from.
            target_count: T.
        """
        segment_count = functional.segment_count
        self._functional = functional
        self._parities = parities[:, None, None]
        total = pairs_of_size(segment_count)
        sizes = lesser_sizes(seen)
        self._left = np.maximum(total - np.bincount(sizes, minlength=len(total)), 0)
        halves = np.where(2 * np.arange(len(total)) == segment_count, 2, 1)
        self._shares = self._left / total / halves
        self._shares[0] = 0.0
        self._counts = np.zeros(len(total))
        self._sums = np.zeros((len(total), segment_count, target_count))
        self._squares = np.zeros_like(self._sums)
        self._usual_parts = self._mean_square_parts()
        self._usual = np.zeros((len(parities), target_count))

    @property
    def enough(self) -> bool:
        """Whether there are enough pairs for an estimate with a variance."""
        return bool(self._counts.sum() >= _FEWEST)

    def add(self, masks: NDArray[np.bool_], residuals: NDArray[np.float64]) -> None:
        """Takes in the (parts, n, T) residuals of n pairs."""
        shares = self._functional.shares
        parts = shares(masks) + self._parities * shares(~masks)
        terms = np.einsum("pnm,pnt->nmt", parts, residuals)
        self._usual += (residuals**2).sum(axis=1)
        sizes = lesser_sizes(masks)
        np.add.at(self._counts, sizes, 1)
        np.add.at(self._sums, sizes, terms)
        np.add.at(self._squares, sizes, terms**2)

    def estimate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(M, T) weights of the residuals, and their variances."""
        counts, shares = self._counts[:, None, None], self._shares[:, None, None]
        drawn = np.maximum(counts, 1)
        means = self._sums / drawn
        # Of a size with one pair or none, what residuals of the usual size would make of it.
        spread = np.einsum("pk,pt->kt", self._usual_parts, self._usual / self._counts.sum())
        own = (self._squares - counts * means**2) / np.maximum(counts - 1, 1)
        variances = np.where(counts > 1, own, spread[:, None])
        unseen = 1 - np.minimum(self._counts / np.maximum(self._left, 1), 1)[:, None, None]
        weights: NDArray[np.float64] = (shares * means).sum(axis=0)
        return weights, (shares**2 * variances / drawn * unseen).sum(axis=0)

    def _mean_square_parts(self) -> NDArray[np.float64]:
        """(parts, M // 2 + 1) of a segment's shares in a pair, by the size of the lesser mask."""
        inside, outside = self._functional.share_by_size()
        kept = np.arange(len(inside)) / self._functional.segment_count
        parities = self._parities[:, 0]
        held, not_held = inside + parities * outside[::-1], outside + parities * inside[::-1]
        squares = kept * held**2 + (1 - kept) * not_held**2
        return squares[:, : len(self._left)]
