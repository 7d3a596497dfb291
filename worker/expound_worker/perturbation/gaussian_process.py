"""A Gaussian process over coalitions, which turns scores into weights and how sure they are."""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from expound_worker.perturbation.covariance import ROUGH, Covariance, Effects, Parity, signs_of
from expound_worker.perturbation.functionals import Functional

# Scores are finite: the engine sees to that.
cholesky = partial(linalg.cholesky, lower=True, check_finite=False)
solve_triangular = partial(linalg.solve_triangular, lower=True, check_finite=False)


class GaussianProcess:
    """A linear functional of a score over coalitions, as a Gaussian process knows it.

    The score's even or odd part is taken for a draw from a Gaussian process of mean 0; what is
    asked for is linear in it, and so is known with a mean and a variance (Bayesian quadrature:
    O'Hagan, 1991; Rasmussen and Ghahramani, 2003, "Bayesian Monte Carlo"). With the observations
    ``y`` of coalitions ``Z``, ``K`` their covariances and ``F`` the functional of each one's
    covariance with all coalitions, the weights are ``F' inv(K) y``, with the variances
    ``diag(V - F' inv(K) F)`` times the scale ``y' inv(K) y / n``.

    The covariance (`Covariance`) is the same for every model: it treats all segments alike, and
    has parts for main effects, main effects that change with the coalition's size, the size
    itself, interactions (the smooth part ``exp(-10 h / M)`` holds those of every order), and for
    what is rough. Its scale is that of the innovations, which are the errors of predicting each
    observation from those before it: so the variances answer to what is observed.

    It takes observations as they come. Each one's part that was not foreseen changes the weights by
    its gain: nothing is fitted anew. Where all pairs are observed the weights are exact, since the
    rough part is a part of the score and no noise.

    Attributes:
        weights: (M, T) as they stand.
        count: number of observations n.
    """

    def __init__(self, functional: Functional, parity: Parity, target_count: int) -> None:
        """Begins without observations."""
        segment_count = functional.segment_count
        self._covariance = Covariance(segment_count, parity)
        self._effects = Effects.of(functional, parity)
        self._own = Effects.own(functional, parity)
        self._variance = np.full(segment_count, self._effects.prior_variance)
        self._signs = np.empty((0, segment_count))
        self._root = np.empty((0, 0))
        self._surprise = 1.0
        self._gains = np.empty((0, segment_count))
        self._innovations = np.empty((0, target_count))
        self.weights = np.zeros((segment_count, target_count))

    @property
    def count(self) -> int:
        """Number of observations."""
        return len(self._signs)

    @property
    def variances(self) -> NDArray[np.float64]:
        """(M, T) variances of the weights."""
        scales = (self._innovations**2).mean(axis=0)
        variances: NDArray[np.float64] = np.maximum(self._variance, 0)[:, None] * scales
        return variances

    def add(self, masks: NDArray[np.bool_], values: NDArray[np.float64]) -> None:
        """Observes the part's (n, T) values at n masks, none of them observed before."""
        signs = signs_of(masks)
        foreseen = self._whitened(signs)
        surprise = self._covariance(signs, signs) - foreseen.T @ foreseen
        surprise[np.diag_indices_from(surprise)] += ROUGH
        root = cholesky(surprise)

        def unforeseen(new: NDArray[np.float64], old: NDArray[np.float64]) -> NDArray[np.float64]:
            whitened: NDArray[np.float64] = solve_triangular(root, new - foreseen.T @ old)
            return whitened

        gains = unforeseen(self._effects(masks), self._gains)
        innovations = unforeseen(values, self._innovations)
        self.weights = self.weights + gains.T @ innovations
        self._variance -= (gains**2).sum(axis=0)
        self._root = np.block([[self._root, np.zeros_like(foreseen)], [foreseen.T, root]])
        self._surprise = float(np.diag(surprise).mean())
        self._signs = np.concatenate([self._signs, signs])
        self._gains = np.concatenate([self._gains, gains])
        self._innovations = np.concatenate([self._innovations, innovations])

    def misses(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n, M) influence of each observation on the weights, and its (n, T) errors.

        The errors are those of foretelling it from all others, as sure as the last observations
        were foretold. Of an error of the weights each observation's share is the product of both.
        """
        both = np.column_stack([self._gains, self._innovations])
        solved = solve_triangular(self._root, both, trans="T")
        influence, missed = np.split(solved, [self._gains.shape[1]], axis=1)
        return influence, missed * self._surprise

    def rough_variances(self, influence: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M, T) variances of the weights, if no coalition told anything about another.

        An observation ought to count by its own share in the weights, and counts by its (n, M)
        `influence`; what is not observed is missing with its whole share. Values vary as much as
        later observations were not foretold from earlier ones.
        """
        shares = self._own(self._signs > 0)
        unseen = max(self._own.prior_variance - (shares**2).sum(axis=0).mean(), 0.0)
        amiss = ((shares - influence)[1:] ** 2).sum(
            axis=0
        ) + unseen  # chance has not chosen the ends
        unforeseen = self._innovations * np.diag(self._root)[:, None]
        variances: NDArray[np.float64] = np.outer(
            amiss, (unforeseen[self.count // 2 :] ** 2).mean(axis=0)
        )
        return variances

    def predict(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, T) values of the part as foreseen at masks that are not observed."""
        predicted: NDArray[np.float64] = self._whitened(signs_of(masks)).T @ self._innovations
        return predicted

    def _whitened(self, signs: NDArray[np.float64]) -> NDArray[np.float64]:
        """(count, n) covariances with the observations, in terms of their innovations."""
        covariances = self._covariance(self._signs, signs)
        whitened: NDArray[np.float64] = solve_triangular(self._root, covariances)
        return whitened
