"""Runs a plan of masks that has an answer at any time, and stops when that is sure enough."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from expound_worker.methods.method import Answer, Report
from expound_worker.perturbation.engine import PlanScorer

_GROWTH = 1.25
"""The estimate is renewed when there are this many times the scores of the last one: it costs a
fixed share of the run however long that is."""


class Estimate(Protocol):
    """Makes answers of the scores of a plan's first masks."""

    def __call__(self, scores: NDArray[np.float64]) -> list[Answer] | None:
        """Estimates.

        Args:
            scores: (n, T) probabilities of the targets for the first n masks of the plan.

        Returns:
            One answer a target; None while there are too few scores for any.
        """
        ...


def run_plan(
    scorer: PlanScorer,
    masks: NDArray[Any],
    estimate: Estimate,
    report: Report,
    max_standard_error: float | None = None,
) -> list[Answer]:
    """Scores masks in their order, reports after each batch, and gives the answers.

    Args:
        scorer: scores the masks.
        masks: (N, ...) the plan, a row a mask; all of it must be enough for an estimate.
        estimate: makes answers of the scores so far.
        report: told after each batch.
        max_standard_error: the run ends early when no weight has a larger standard error; None:
            the whole plan is run.

    Returns:
        One answer a target.
    """
    plan = _Run(estimate, np.empty((len(masks), scorer.target_count)))
    total = scorer.evaluations + len(masks)
    for scores in scorer.batches(masks):
        plan.add(scores)
        error = plan.standard_error
        report(scorer.evaluations, total, error, plan.answers if plan.latest else None)
        if max_standard_error is not None and error is not None and error <= max_standard_error:
            break
    warning = (
        f"stopped after {scorer.evaluations} of {total} evaluations: no standard error is above "
        f"max_standard_error={max_standard_error:g}"
        if scorer.evaluations < total
        else None
    )
    return [_warned(answer, warning) for answer in plan.answers()]


class _Run:
    """The scores so far, and the latest estimate of them."""

    def __init__(self, estimate: Estimate, scores: NDArray[np.float64]) -> None:
        self.latest: Sequence[Answer] = ()
        self._estimate = estimate
        self._scores = scores
        self._done = 0
        self._estimated = 0

    @property
    def standard_error(self) -> float | None:
        """The largest one of the latest estimate, where it has any."""
        errors = [
            answer.standard_errors.max()
            for answer in self.latest
            if answer.standard_errors is not None
        ]
        return float(max(errors)) if errors else None

    def add(self, scores: NDArray[np.float64]) -> None:
        """Takes a batch of scores, and renews the estimate when there are enough new ones."""
        self._scores[self._done : self._done + len(scores)] = scores
        self._done += len(scores)
        if self._done >= _GROWTH * self._estimated or self._done == len(self._scores):
            self.latest = self._estimate(self._scores[: self._done]) or self.latest
            self._estimated = self._done

    def answers(self) -> Sequence[Answer]:
        """The latest estimate: a few batches old at times, but not when the run has ended."""
        return self.latest


def _warned(answer: Answer, warning: str | None) -> Answer:
    return answer if warning is None else replace(answer, warnings=[*answer.warnings, warning])
