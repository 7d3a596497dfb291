"""LIME as the lime library does it: its masks and its regression."""

from functools import partial

import numpy as np
from lime.lime_base import LimeBase
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances

from expound.v1 import method_pb2
from expound_worker.methods.method import PROBABILITY, Answer
from expound_worker.perturbation.engine import Scorer, pixel_map
from expound_worker.perturbation.surrogate import check_neighbours, kernel_weights, poor_fit

_RIDGE_ALPHA = 1.0
"""Penalty of the ridge regression in `LimeBase.explain_instance_with_data`."""
_SAMPLES_PER_SEGMENT = 2
"""Below this the residuals say too little for standard errors."""
_BASELINE_EVALUATIONS = 1


class LimeFit:
    """Makes answers of the scores of the baseline and of the first samples, as lime does."""

    def __init__(self, scorer: Scorer, parameters: method_pb2.Lime, seed: int) -> None:
        """Draws `n_samples` masks as lime does from this seed.

        Raises:
            MethodError: the kernel is too narrow for the samples.
        """
        samples = _draw(parameters.n_samples, scorer.segment_count, seed)
        self._segments = scorer.segments
        self._target_count = scorer.target_count
        self._samples = samples
        self._n_features = parameters.n_features
        self._kernel = partial(kernel_weights, width=parameters.kernel_width)
        self._base = LimeBase(self._kernel)
        distances = pairwise_distances(samples, samples[:1], metric="cosine")
        self._distances: NDArray[np.float64] = distances.ravel()
        self._distances[0] = 0.0  # not 1e-16: the narrowest kernel still sees the image itself
        check_neighbours(self._kernel(self._distances), parameters.kernel_width)

    @property
    def plan(self) -> NDArray[np.bool_]:
        """(1 + N, M) all masks in order: the baseline, and the samples, the image first."""
        nothing_kept = np.zeros((_BASELINE_EVALUATIONS, self._samples.shape[1]), dtype=bool)
        return np.concatenate([nothing_kept, self._samples.astype(bool)])

    def __call__(self, scores: NDArray[np.float64]) -> list[Answer]:
        """Makes them; none while there is no sample but the image."""
        baseline_scores, sample_scores = np.split(scores, [_BASELINE_EVALUATIONS])
        if len(sample_scores) < 2:
            return []
        return [
            self._answer(sample_scores, float(baseline_scores[0, target]), target)
            for target in range(self._target_count)
        ]

    def _answer(self, scores: NDArray[np.float64], baseline_output: float, target: int) -> Answer:
        """The fit for one target, by lime."""
        samples, distances = self._samples[: len(scores)], self._distances[: len(scores)]
        intercept, fitted, r_squared, _ = self._base.explain_instance_with_data(
            samples,
            scores,
            distances,
            target,
            num_features=self._n_features,
            feature_selection="auto" if self._n_features else "none",
        )
        weights = np.zeros(samples.shape[1])
        features = np.array([feature for feature, _ in fitted], dtype=np.int64)
        weights[features] = [weight for _, weight in fitted]
        return Answer(
            values=pixel_map(weights, self._segments),
            score=PROBABILITY,
            output=float(scores[0, target]),
            evaluations=_BASELINE_EVALUATIONS + len(scores),
            baseline_output=baseline_output,
            segments=self._segments,
            weights=weights,
            standard_errors=self._standard_errors(
                scores[:, target] - intercept - samples @ weights, features
            ),
            intercept=float(intercept),
            r_squared=float(r_squared),
            warnings=[*poor_fit(float(r_squared)), *_too_few_warning(samples)],
        )

    def _standard_errors(
        self, residuals: NDArray[np.float64], features: NDArray[np.int64]
    ) -> NDArray[np.float64] | None:
        """(M,) standard errors of the weights of `features`, 0 elsewhere; None: too few samples."""
        samples = self._samples[: len(residuals)]
        if _too_few(samples):
            return None
        kernel = self._kernel(self._distances[: len(residuals)])
        errors = np.zeros(samples.shape[1])
        errors[features] = _sandwich_errors(samples[:, features], kernel, residuals)
        return errors


def _draw(n_samples: int, segment_count: int, seed: int) -> NDArray[np.int64]:
    """(N, M) masks of 0 and 1, as `LimeImageExplainer.data_labels` draws them."""
    random = np.random.RandomState(seed)
    samples = random.randint(0, 2, n_samples * segment_count).reshape(n_samples, segment_count)
    samples[0] = 1
    return samples.astype(np.int64)


def _sandwich_errors(
    samples: NDArray[np.int64], kernel: NDArray[np.float64], residuals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Standard errors of a weighted ridge regression's slopes, for masks drawn independently.

    The slopes solve ``sum k x (y - a - x.b) = alpha b`` with ``x`` centred, so that they vary with
    the sum of the ``k x e`` of independent samples, through ``A = sum k x x' + alpha``: covariance
    ``inv(A) [sum (k e / (1 - h))^2 x x'] inv(A)``. It holds though ``f`` is not linear (White,
    1980), and leverage ``h`` makes up for residuals that the fit has shrunk (HC3: MacKinnon and
    White, 1985).
    """
    centred = samples - np.average(samples, axis=0, weights=kernel)
    penalty = _RIDGE_ALPHA * np.eye(samples.shape[1])
    influence = np.linalg.solve((centred.T * kernel) @ centred + penalty, centred.T).T
    leverage = kernel * ((centred * influence).sum(axis=1) + 1 / kernel.sum())
    scaled = kernel * residuals / np.maximum(1 - leverage, np.finfo(float).eps)
    errors: NDArray[np.float64] = np.sqrt(((influence * scaled[:, None]) ** 2).sum(axis=0))
    return errors


def _too_few(samples: NDArray[np.int64]) -> bool:
    count, segment_count = samples.shape
    return bool(count < _SAMPLES_PER_SEGMENT * segment_count)


def _too_few_warning(samples: NDArray[np.int64]) -> list[str]:
    if not _too_few(samples):
        return []
    return [
        f"{samples.shape[0]} samples for {samples.shape[1]} segments are too few for standard "
        f"errors: raise n_samples to {_SAMPLES_PER_SEGMENT * samples.shape[1]} or more"
    ]
