"""LIME: a linear surrogate of the model around one image."""

from collections.abc import Sequence

import numpy as np
from lime.lime_base import LimeBase
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.method import PROBABILITY, Answer, MethodError, Report
from expound_worker.models.model import Model
from expound_worker.perturbation.anytime import run_plan
from expound_worker.perturbation.engine import Scorer, check_plan_size, pixel_map, prepare

_RIDGE_ALPHA = 1.0
"""Penalty of the ridge regression in `LimeBase.explain_instance_with_data`."""
_LOW_R_SQUARED = 0.1
_SAMPLES_PER_SEGMENT = 2
"""Below this the residuals say too little for standard errors."""
_MIN_EFFECTIVE_SAMPLES = 2
_BASELINE_EVALUATIONS = 1


class Lime:
    """LIME for images (Ribeiro et al., 2016, "Why Should I Trust You?").

    Weights ``b`` that minimise ``sum k(z) (f(z) - a - z.b)^2 + |b|^2`` over random masks ``z``, in
    which each segment is kept with probability 1/2, with the kernel
    ``k(z) = sqrt(exp(-d(z)^2 / kernel_width^2))`` on the cosine distance ``d`` to the whole image.
    Masks are drawn as `lime.lime_image` draws them, and fitted by `lime.lime_base`.

    Values (H, W): each pixel has its segment's weight. The weights do not add up to anything, so
    there is no convergence delta. Standard errors say how far the weights would be others with
    other masks; they know nothing of how well a linear model fits at all: `r_squared` does. They
    are absent below 2 samples a segment; segments that `n_features` leaves out have neither
    weight nor error. A surrogate that explains little, or too few samples, is warned of.

    Cost: `n_samples` evaluations, and one for the baseline.
    """

    name = "lime"

    def refusal(self, model: Model) -> str | None:
        """Right on every model."""
        return None

    def attribute(
        self,
        model: Model,
        image: Tensor,
        targets: Sequence[int],
        parameters: method_pb2.Lime,
        seed: int,
        report: Report,
    ) -> list[Answer]:
        """Explains one input, as `PerturbationMethod.attribute` says."""
        scorer = prepare(model, image, targets, parameters.segmentation, parameters.baseline, seed)
        check_plan_size(parameters.n_samples, scorer.segment_count)
        samples = _draw(parameters.n_samples, scorer.segment_count, seed)
        nothing_kept = np.zeros((_BASELINE_EVALUATIONS, scorer.segment_count), dtype=bool)
        masks = np.concatenate([nothing_kept, samples.astype(bool)])
        estimate = _Surrogate(scorer, samples, parameters)
        return run_plan(scorer, masks, estimate, report, _max_standard_error(parameters))


def _draw(n_samples: int, segment_count: int, seed: int) -> NDArray[np.int64]:
    """(N, M) masks of 0 and 1, as `LimeImageExplainer.data_labels` draws them."""
    random = np.random.RandomState(seed)
    samples = random.randint(0, 2, n_samples * segment_count).reshape(n_samples, segment_count)
    samples[0] = 1
    return samples.astype(np.int64)


def _max_standard_error(parameters: method_pb2.Lime) -> float | None:
    given = parameters.HasField("max_standard_error")
    return parameters.max_standard_error if given else None


class _Surrogate:
    """Fits LIME's linear model to the scores of the baseline and of the first samples."""

    def __init__(
        self, scorer: Scorer, samples: NDArray[np.int64], parameters: method_pb2.Lime
    ) -> None:
        self._segments = scorer.segments
        self._target_count = scorer.target_count
        self._samples = samples
        self._n_features = parameters.n_features
        self._kernel_width = parameters.kernel_width
        self._base = LimeBase(self._kernel)
        distances = pairwise_distances(samples, samples[:1], metric="cosine")
        self._distances: NDArray[np.float64] = distances.ravel()
        self._distances[0] = 0.0  # not 1e-16: the narrowest kernel still sees the image itself
        self._check_neighbours()

    def _check_neighbours(self) -> None:
        """Raises MethodError where the image alone has weight: any line would fit it perfectly."""
        kernel = self._kernel(self._distances)
        effective_count = kernel.sum() ** 2 / (kernel**2).sum()  # Kish, 1965
        if effective_count < _MIN_EFFECTIVE_SAMPLES:
            raise MethodError(
                Reason.INVALID_FIELD,
                f"kernel_width {self._kernel_width:g} is so narrow that the samples together count "
                f"for {effective_count:.2g}: raise it; 0.25 is usual",
                field="kernel_width",
            )

    def __call__(self, scores: NDArray[np.float64]) -> list[Answer] | None:
        baseline_scores, sample_scores = np.split(scores, [_BASELINE_EVALUATIONS])
        if len(sample_scores) < 2:
            return None
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
            warnings=_warnings(float(r_squared), samples),
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

    def _kernel(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):  # infinitely far is weight 0
            kernel: NDArray[np.float64] = np.sqrt(np.exp(-((distances / self._kernel_width) ** 2)))
        return kernel


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


def _warnings(r_squared: float, samples: NDArray[np.int64]) -> list[str]:
    warnings = []
    if r_squared < _LOW_R_SQUARED:
        warnings.append(
            f"the linear surrogate explains only {max(r_squared, 0):.0%} of the score's variation "
            f"(r_squared {r_squared:.2g}): its weights say little about the model; use "
            "kernel_shap, or another baseline or segmentation"
        )
    if _too_few(samples):
        warnings.append(
            f"{samples.shape[0]} samples for {samples.shape[1]} segments are too few for standard "
            f"errors: raise n_samples to {_SAMPLES_PER_SEGMENT * samples.shape[1]} or more"
        )
    return warnings
