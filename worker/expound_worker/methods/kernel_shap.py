"""KernelSHAP: Shapley values of segments by weighted regression."""

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
from expound_worker.perturbation.coalitions import (
    CoalitionRegression,
    Coalitions,
    plan_coalitions,
)
from expound_worker.perturbation.engine import Scorer, check_plan_size, pixel_map, prepare

_ENDS = 2
"""Evaluations of the baseline and of the image, before the coalitions."""
_SMALLEST_EIGENVALUE = 1e-10
"""Of a regression that determines its values, relative to the largest."""


class KernelShap:
    """KernelSHAP (Lundberg and Lee, 2017, "A Unified Approach to Interpreting Model Predictions").

    Values ``phi`` that minimise ``sum k(z) (f(z) - f(0) - z.phi)^2`` over coalitions ``z`` of the M
    segments, with ``sum phi = f(1) - f(0)`` and the Shapley kernel
    ``k(z) = (M - 1) / (binom(M, |z|) |z| (M - |z|))``. Coalitions and regression are shap's own
    (KernelExplainer, no l1 penalty); coalitions are evaluated in an order that makes early
    estimates fair (`Coalitions`).

    Values (H, W): each pixel has its segment's Shapley value. The segments' values sum to the score
    minus the baseline's, and `convergence_delta` is what is left. Standard errors say how far
    they would be others with other coalitions; they are 0 when all 2^M - 2 are evaluated.

    Cost: `n_samples` evaluations, at most 2^M - 2, and two for image and baseline.
    """

    name = "kernel_shap"

    def refusal(self, model: Model) -> str | None:
        """Right on every model."""
        return None

    def attribute(
        self,
        model: Model,
        image: Tensor,
        targets: Sequence[int],
        parameters: method_pb2.KernelShap,
        seed: int,
        report: Report,
    ) -> list[Answer]:
        """Explains one input, as `PerturbationMethod.attribute` says."""
        scorer = prepare(model, image, targets, parameters.segmentation, parameters.baseline, seed)
        count = scorer.segment_count
        check_plan_size(parameters.n_samples, count)
        coalitions = plan_coalitions(parameters.n_samples, count, seed)
        estimate = _Regression(scorer, coalitions)
        if not estimate.determined(len(coalitions.starts)):
            raise MethodError(
                Reason.INVALID_FIELD,
                f"{parameters.n_samples} samples do not determine the values of {count} segments: "
                f"raise n_samples to {4 * count} or more, or use fewer segments",
                field="n_samples",
            )
        ends = np.repeat([[False], [True]], count, axis=1)
        given = parameters.HasField("max_standard_error")
        return run_plan(
            scorer,
            np.concatenate([ends, coalitions.masks]),
            estimate,
            report,
            parameters.max_standard_error if given else None,
        )


class _Regression:
    """Makes Shapley values of the scores of both ends and of the first coalitions."""

    def __init__(self, scorer: Scorer, coalitions: Coalitions) -> None:
        self._segments = scorer.segments
        self._coalitions = coalitions
        self._shap = CoalitionRegression(scorer.segment_count, scorer.target_count)
        self._shap.M = scorer.segment_count
        self._shap.l1_reg = False

    def determined(self, units: int) -> bool:
        """Whether the first units determine the values."""
        if units == 0:
            return False
        columns = self._columns(units)
        eigenvalues = np.linalg.eigvalsh((columns.T * self._weights(units)) @ columns)
        return bool(eigenvalues[0] > _SMALLEST_EIGENVALUE * eigenvalues[-1])

    def __call__(self, scores: NDArray[np.float64]) -> list[Answer] | None:
        ends, coalition_scores = np.split(scores, [_ENDS])
        units = self._coalitions.units_within(len(coalition_scores))
        if not self.determined(units):
            return None
        rows = self._coalitions.rows_of(units)
        regression = self._shap
        regression.maskMatrix = self._coalitions.masks[:rows].astype(float)
        regression.kernelWeights = self._weights(units)
        regression.fnull, regression.fx = ends
        regression.ey = coalition_scores[:rows]
        return [self._answer(units, target, len(scores)) for target in range(scores.shape[1])]

    def _answer(self, units: int, target: int, evaluations: int) -> Answer:
        """The regression for one target, by shap."""
        regression = self._shap
        values, _ = regression.solve(1.0, target)
        baseline_output, output = float(regression.fnull[target]), float(regression.fx[target])
        delta = float(values.sum() - (output - baseline_output))
        residuals = regression.ey[:, target] - baseline_output - regression.maskMatrix @ values
        return Answer(
            values=pixel_map(values, self._segments),
            score=PROBABILITY,
            output=output,
            evaluations=evaluations,
            baseline_output=baseline_output,
            convergence_delta=delta,
            completeness_error=completeness_error(delta, output, baseline_output),
            segments=self._segments,
            weights=values,
            standard_errors=self._standard_errors(units, residuals),
        )

    def _columns(self, units: int) -> NDArray[np.float64]:
        """(n, M - 1) regressors: the constraint on the sum takes the last segment out."""
        masks = self._coalitions.masks[: self._coalitions.rows_of(units)].astype(float)
        columns: NDArray[np.float64] = masks[:, :-1] - masks[:, -1:]
        return columns

    def _weights(self, units: int) -> NDArray[np.float64]:
        """(n,) weights: those that follow the leading ones stand for all that were planned."""
        plan = self._coalitions
        leading, rows = plan.rows_of(plan.leading), plan.rows_of(units)
        weights = plan.weights[:rows].copy()
        if rows > leading:
            weights[leading:] *= plan.weights[leading:].sum() / weights[leading:].sum()
        return weights

    def _standard_errors(
        self, units: int, residuals: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """(M,) standard errors of the values; None while too few units are evaluated.

        The values vary with the sum of the ``w x e`` over the units that chance put there, through
        ``inv(X'WX)``: the sandwich of White (1980), with the leverage of each unit taken out
        (MacKinnon and White, 1985, clustered). Chance comes in twice, as in two-phase sampling
        (Särndal, Swensson and Wretman, 1992, chapter 9): shap drew units for the plan, and those
        evaluated so far are a part of the plan. The second share ends with the plan; the first
        is absent where shap listed everything.
        """
        plan = self._coalitions
        planned, seen = len(plan.starts) - plan.leading, units - plan.leading
        if planned == 0:
            return np.zeros(plan.masks.shape[1])
        if seen < min(planned, max(plan.masks.shape[1], 2)):
            return None
        influence = self._influence(units, residuals)[plan.leading :]
        weights = plan.weights[plan.starts[plan.leading : units]]
        expansion = planned / seen
        partial = expansion**2 * (1 - seen / planned) * weights**2
        variance = _spread(influence, partial, weights)
        drawn = plan.drawn[plan.leading : units]
        if drawn.any():
            if drawn.sum() < 2:
                return None
            # The least weight is that of one draw: a unit drawn again counts as often.
            draws = expansion * weights[drawn].min() * weights[drawn]
            variance += _spread(influence[drawn], draws, weights[drawn])
        errors: NDArray[np.float64] = np.sqrt(variance)
        return errors

    def _influence(self, units: int, residuals: NDArray[np.float64]) -> NDArray[np.float64]:
        """(units, M) change of the values per weight of each unit."""
        columns, weights = self._columns(units), self._weights(units)
        inverse = np.linalg.inv((columns.T * weights) @ columns)
        projected = columns @ inverse
        starts = self._coalitions.starts[:units]
        leverage = np.add.reduceat(weights * (projected * columns).sum(axis=1), starts)
        change = np.add.reduceat(projected * residuals[:, None], starts)
        change /= np.maximum(1 - leverage, np.finfo(float).eps)[:, None]
        return np.column_stack([change, -change.sum(axis=1)])


def _spread(
    influence: NDArray[np.float64], factors: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(M,) sum of ``factors`` times the squared distances to the weighted mean influence."""
    distances = influence - np.average(influence, axis=0, weights=weights)
    count = len(influence)
    total: NDArray[np.float64] = factors @ distances**2 * count / max(count - 1, 1)
    return total
