"""Weights of segments from the scores of paired coalitions, and how sure they are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from expound_worker.perturbation.covariance import Parity
from expound_worker.perturbation.functionals import Functional
from expound_worker.perturbation.process import Process
from expound_worker.perturbation.residuals import Residuals

_LEARNED = 512
"""Pairs from which a surrogate is learned: each costs time with the square of their number."""
_FEWEST = 3
"""Pairs from which on standard errors mean something."""
_NORMAL_95 = 1.959964


class PairedWeights:
    """A functional of the score, estimated from pairs as they come.

    A constant has no weights, and so the score is measured from the middle of image and baseline.
    A Gaussian process learns the score from the first 512 pairs and gives the weights (`Process`).
    What it leaves over is then estimated, without bias, from all pairs that follow (`Residuals`;
    Witter, Liu and Musco, 2025, "Regression-Adjusted Monte Carlo Estimators for Shapley Values and
    Probabilistic Values"), and counts as much as it is sure: with ``V`` the variance of the one and
    ``S`` that of the other, by ``V / (V + S)``. With all pairs the weights are exact.
    """

    def __init__(
        self,
        functional: Functional,
        parities: Sequence[Parity],
        pairs: NDArray[np.bool_],
        target_count: int,
    ) -> None:
        """Begins without scores; (P, M) `pairs` holds one mask of each pair in their order."""
        self._pairs = np.concatenate([np.ones((1, pairs.shape[1]), dtype=bool), pairs])
        self._parts = [_Part(functional, parity, target_count) for parity in parities]
        self._waiting = np.empty((0, target_count))
        self._middle = np.zeros(target_count)
        self._done = 0

    @property
    def plan(self) -> NDArray[np.bool_]:
        """(2 + 2 P, M) all masks in order: baseline, image, and each mask with its complement."""
        both = np.stack([self._pairs, ~self._pairs], axis=1)
        both[0] = both[0, ::-1]
        return both.reshape(-1, self._pairs.shape[1])

    @property
    def enough(self) -> bool:
        """Whether there are enough scores for weights with standard errors."""
        return self._done > min(_FEWEST, len(self._pairs) - 1)

    def add(self, scores: NDArray[np.float64]) -> None:
        """Takes in the (n, T) scores of the next n masks of the plan."""
        scores = np.concatenate([self._waiting, scores])
        pairs = len(scores) // 2
        self._waiting = scores[2 * pairs :]
        if pairs == 0:
            return
        both = scores[: 2 * pairs].reshape(pairs, 2, -1)
        if self._done == 0:
            both[0] = both[0, ::-1]
            self._middle = both[0].mean(axis=0)
        both = both - self._middle
        masks = self._pairs[self._done : self._done + pairs]
        self._done += pairs
        for part in self._parts:
            part.add(masks, (both[:, 0] + int(part.parity) * both[:, 1]) / 2)

    def estimate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(M, T) weights, and their standard errors: 1.96 of them to both sides hold 95 %."""
        weights, variances = zip(*(part.estimate() for part in self._parts), strict=True)
        if self._done > 2 ** (self._pairs.shape[1] - 1) - 1:
            return sum(weights), np.zeros_like(weights[0])
        return sum(weights), widened(np.sqrt(sum(variances)), self._done - 1)


def widened(errors: NDArray[np.float64], freedom: int) -> NDArray[np.float64]:
    """Standard errors that were estimated with few degrees of freedom, for normal intervals."""
    factor = stdtrit(freedom, 0.975) / _NORMAL_95
    return errors * float(factor)


class _Part:
    """The even or the odd part of the score."""

    def __init__(self, functional: Functional, parity: Parity, target_count: int) -> None:
        self.parity = parity
        self._functional = functional
        self._process = Process(functional, parity, target_count)
        self._seen: list[NDArray[np.bool_]] = []
        self._residuals: Residuals | None = None
        self._target_count = target_count

    def add(self, masks: NDArray[np.bool_], values: NDArray[np.float64]) -> None:
        """Takes in the part's (n, T) values of n pairs."""
        room = 1 + _LEARNED - self._process.count
        if room > 0:
            self._process.add(masks[:room], values[:room])
            self._seen.append(masks[:room])
            masks, values = masks[room:], values[room:]
        if len(masks) == 0:
            return
        if self._residuals is None:
            seen = np.concatenate(self._seen)
            self._residuals = Residuals(self._functional, self.parity, seen, self._target_count)
        self._residuals.add(masks, values - self._process.predict(masks))

    def estimate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(M, T) weights and variances."""
        weights, variances = self._process.weights, self._process.variances
        if self._residuals is None or not self._residuals.enough:
            return weights, variances
        left, spread = self._residuals.estimate()
        uncertain = variances.sum(axis=0)
        total = uncertain + spread.sum(axis=0)
        trust = np.divide(uncertain, total, out=np.ones_like(total), where=total > 0)
        return weights + trust * left, (1 - trust) ** 2 * variances + trust**2 * spread
