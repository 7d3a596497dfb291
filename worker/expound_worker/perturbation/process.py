"""A Gaussian process over coalitions, which turns scores into weights and how sure they are."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from expound_worker.perturbation.covariance import ROUGH, Covariance, Effects, Parity, signs_of
from expound_worker.perturbation.functionals import Functional


class Process:
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
    observation from those before it; so the variances are checked by the model itself.

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
        self._variance = np.full(segment_count, self._effects.prior_variance)
        self._signs = np.empty((0, segment_count))
        self._whitener = np.empty((0, 0))
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
        root = cholesky(surprise, lower=True)

        def unforeseen(new: NDArray[np.float64], old: NDArray[np.float64]) -> NDArray[np.float64]:
            whitened: NDArray[np.float64] = solve_triangular(
                root, new - foreseen.T @ old, lower=True
            )
            return whitened

        gains = unforeseen(self._effects(masks), self._gains)
        innovations = unforeseen(values, self._innovations)
        self.weights = self.weights + gains.T @ innovations
        self._variance -= (gains**2).sum(axis=0)
        new, old = len(masks), self.count
        whitener = np.zeros((old + new, old + new))
        whitener[:old, :old] = self._whitener
        whitener[old:, :old] = unforeseen(np.zeros((new, old)), self._whitener)
        whitener[old:, old:] = solve_triangular(root, np.eye(new), lower=True)
        self._whitener = whitener
        self._signs = np.concatenate([self._signs, signs])
        self._gains = np.concatenate([self._gains, gains])
        self._innovations = np.concatenate([self._innovations, innovations])

    def predict(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, T) values of the part as foreseen at masks that are not observed."""
        predicted: NDArray[np.float64] = self._whitened(signs_of(masks)).T @ self._innovations
        return predicted

    def _whitened(self, signs: NDArray[np.float64]) -> NDArray[np.float64]:
        """(count, n) covariances with the observations, in terms of their innovations."""
        whitened: NDArray[np.float64] = self._whitener @ self._covariance(self._signs, signs)
        return whitened
