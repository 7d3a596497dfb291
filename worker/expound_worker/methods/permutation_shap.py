"""Permutation SHAP: Shapley values of segments by antithetic permutations."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.completeness import completeness_error
from expound_worker.methods.method import PROBABILITY, Answer, MethodError, Report
from expound_worker.models.model import Model
from expound_worker.perturbation.anytime import run_plan
from expound_worker.perturbation.engine import check_plan_size, pixel_map, prepare

_ENDS = 2
"""Evaluations of the baseline and of the image, which all permutations share."""


class PermutationShap:
    """Shapley values by permutations, there and back, as of shap's PermutationExplainer.

    Mitchell et al., 2022, "Sampling Permutations for Shapley Value Estimation". A permutation adds
    the segments to the baseline one by one, and then takes them away in the same order. A segment's
    value is the mean change of the score when it comes and when it goes, over the permutations:
    unbiased, and exact from one permutation on where no more than two segments interact.

    Permutations are drawn as shap draws them from the seed, as many as shap runs within
    `n_samples`, ``n_samples // (2M + 1)``; so the values are shap's. shap evaluates both ends again
    with every permutation; here that is done once.

    Values (H, W), in probability: each pixel has its segment's value. The segments' values sum to
    the score minus the baseline's, exactly: `convergence_delta` is rounding. Standard errors are
    those of the mean over permutations, each with its way back, and absent when there is one
    alone.

    Cost: 2M - 2 evaluations a permutation of the M segments, and two for image and baseline.
    """

    name = "permutation_shap"

    def refusal(self, model: Model) -> str | None:
        """Right on every model."""
        return None

    def attribute(
        self,
        model: Model,
        image: Tensor,
        targets: Sequence[int],
        parameters: method_pb2.PermutationShap,
        seed: int,
        report: Report,
    ) -> list[Answer]:
        """Explains one input, as `PerturbationMethod.attribute` says."""
        scorer = prepare(model, image, targets, parameters.segmentation, parameters.baseline, seed)
        count = scorer.segment_count
        check_plan_size(parameters.n_samples, count)
        permutations = _draw(parameters.n_samples, count, seed)
        ends = np.repeat([[False], [True]], count, axis=1)
        plan = np.concatenate([ends, *(_there_and_back(order) for order in permutations)])
        return run_plan(scorer, plan, _Changes(scorer.segments, permutations), report)


def _draw(n_samples: int, segment_count: int, seed: int) -> NDArray[np.int64]:
    """(P, M) permutations, as shap shuffles them."""
    needed = 2 * segment_count + 1
    if n_samples < needed:
        raise MethodError(
            Reason.INVALID_FIELD,
            f"{n_samples} samples are too few for a permutation of {segment_count} segments: raise "
            f"n_samples to {needed} or more, or use fewer segments",
            field="n_samples",
        )
    random = np.random.RandomState(seed)
    order = np.arange(segment_count)
    permutations = []
    for _ in range(n_samples // needed):
        random.shuffle(order)  # of what the last one left, as in shap
        permutations.append(order.copy())
    return np.array(permutations)


def _there_and_back(order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(2M - 2, M) masks between the ends: segments come in this order, and then go in it."""
    place = np.argsort(order)
    coming = place < np.arange(1, len(order))[:, None]
    return np.concatenate([coming, ~coming])


class _Changes:
    """Makes answers of the scores of both ends and of the first permutations."""

    def __init__(self, segments: NDArray[np.int32], permutations: NDArray[np.int64]) -> None:
        self._segments = segments
        self._permutations = permutations

    def __call__(self, scores: NDArray[np.float64]) -> list[Answer] | None:
        segment_count = self._permutations.shape[1]
        done = (len(scores) - _ENDS) // (2 * segment_count - 2)
        if done < 1:
            return None
        ends, inner = scores[:_ENDS], scores[_ENDS:][: done * (2 * segment_count - 2)]
        changes = self._changes(ends, inner.reshape(done, 2, segment_count - 1, -1))
        return [
            self._answer(changes[:, :, target], ends[:, target], len(scores))
            for target in range(scores.shape[1])
        ]

    def _changes(
        self, ends: NDArray[np.float64], inner: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(P, M, T) change of the score by each segment, the mean of coming and going."""
        nothing, everything = (np.broadcast_to(end, inner[:, 0, :1].shape) for end in ends)
        coming = np.diff(np.concatenate([nothing, inner[:, 0], everything], axis=1), axis=1)
        going = -np.diff(np.concatenate([everything, inner[:, 1], nothing], axis=1), axis=1)
        changes: NDArray[np.float64] = np.empty_like(coming)
        orders = self._permutations[: len(inner), :, None]
        np.put_along_axis(changes, orders, (coming + going) / 2, axis=1)
        return changes

    def _answer(
        self, changes: NDArray[np.float64], ends: NDArray[np.float64], evaluations: int
    ) -> Answer:
        weights = changes.mean(axis=0)
        baseline_output, output = (float(score) for score in ends)
        delta = float(weights.sum() - (output - baseline_output))
        count = len(changes)
        return Answer(
            values=pixel_map(weights, self._segments),
            score=PROBABILITY,
            output=output,
            evaluations=evaluations,
            baseline_output=baseline_output,
            convergence_delta=delta,
            completeness_error=completeness_error(delta, output, baseline_output),
            segments=self._segments,
            weights=weights,
            standard_errors=changes.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else None,
        )
