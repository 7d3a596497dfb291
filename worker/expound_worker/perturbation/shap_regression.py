"""KernelSHAP as the shap library does it: its coalitions and its regression."""

import numpy as np
from numpy.typing import NDArray

from expound.reasons import Reason
from expound_worker.methods.method import Answer, MethodError
from expound_worker.perturbation.answers import additive_answers
from expound_worker.perturbation.coalitions import CoalitionRegression, plan_coalitions
from expound_worker.perturbation.engine import Scorer

_ENDS = 2
"""Evaluations of the baseline and of the image, before the coalitions."""
_SMALLEST_EIGENVALUE = 1e-10
"""Of a regression that determines its values, relative to the largest."""


class ShapRegression:
    """Makes answers of the scores of both ends and of the first coalitions, as shap does."""

    def __init__(self, scorer: Scorer, n_samples: int, seed: int) -> None:
        """Plans `n_samples` coalitions as shap does from this seed.

        Raises:
            MethodError: so few do not determine the values.
        """
        count = scorer.segment_count
        coalitions = plan_coalitions(n_samples, count, seed)
        self._segments = scorer.segments
        self._coalitions = coalitions
        self._shap = CoalitionRegression(scorer.segment_count, scorer.target_count)
        self._shap.M = scorer.segment_count
        self._shap.l1_reg = False
        if not self._determined(len(coalitions.starts)):
            raise MethodError(
                Reason.INVALID_FIELD,
                f"{n_samples} samples do not determine the values of {count} segments: raise "
                f"n_samples to {4 * count} or more, or use fewer segments",
                field="n_samples",
            )

    @property
    def plan(self) -> NDArray[np.bool_]:
        """(N, M) all masks in order: baseline, image, and the coalitions."""
        ends = np.repeat([[False], [True]], self._coalitions.masks.shape[1], axis=1)
        return np.concatenate([ends, self._coalitions.masks])

    def _determined(self, units: int) -> bool:
        """Whether the first units determine the values."""
        plan = self._coalitions
        if plan.rows_of(units) < plan.masks.shape[1] - 1:
            return False
        columns = self._columns(units)
        eigenvalues = np.linalg.eigvalsh((columns.T * self._weights(units)) @ columns)
        return bool(eigenvalues[0] > _SMALLEST_EIGENVALUE * eigenvalues[-1])

    def __call__(self, scores: NDArray[np.float64]) -> list[Answer]:
        """Makes them; none while the coalitions do not determine the values."""
        ends, coalition_scores = np.split(scores, [_ENDS])
        units = self._coalitions.units_within(len(coalition_scores))
        if not self._determined(units):
            return []
        rows = self._coalitions.rows_of(units)
        regression = self._shap
        regression.maskMatrix = self._coalitions.masks[:rows].astype(float)
        regression.kernelWeights = self._weights(units)
        regression.fnull, regression.fx = ends
        regression.ey = coalition_scores[:rows]
        solved = [regression.solve(1.0, target)[0] for target in range(scores.shape[1])]
        values = np.stack(solved, axis=1)
        residuals = regression.ey - ends[0] - regression.maskMatrix @ values
        errors = [self._standard_errors(units, residual) for residual in residuals.T]
        known = [error for error in errors if error is not None]
        return additive_answers(
            values,
            ends,
            len(scores),
            self._segments,
            np.stack(known, axis=1) if len(known) == len(errors) else None,
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
        # The regression goes through as many units as there are free values, and leaves no error.
        if units < plan.masks.shape[1] or seen < min(planned, plan.masks.shape[1]):
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
