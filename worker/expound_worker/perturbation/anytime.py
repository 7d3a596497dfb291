"""Runs a plan of masks that has an answer at any time, and stops when that is enough."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from expound_worker.methods.method import Answer, Report, largest_error
from expound_worker.perturbation.engine import PlanScorer


class Estimator(Protocol):
    """Takes in the scores of a plan's masks as they come, and makes answers of them."""

    @property
    def growth(self) -> float:
        """The answers are renewed when there are this many times the scores of the last ones."""
        ...

    def add(self, scores: NDArray[np.float64]) -> None:
        """Takes in the (n, T) probabilities of the targets for the next n masks of the plan."""
        ...

    def answers(self) -> list[Answer]:
        """One answer a target; none while there are too few scores for any."""
        ...


class AllScores:
    """An estimator that makes its answers anew of all scores so far.

    It does so when there are a quarter more of them, and so at a fixed share of what a run costs.
    """

    growth = 1.25

    def __init__(self, estimate: Callable[[NDArray[np.float64]], list[Answer]]) -> None:
        """Begins without scores; `estimate` is given those (n, T) of the plan's first n masks."""
        self._estimate = estimate
        self._scores: list[NDArray[np.float64]] = []

    def add(self, scores: NDArray[np.float64]) -> None:
        """Takes in the next scores."""
        self._scores.append(scores)

    def answers(self) -> list[Answer]:
        """Makes them of all scores."""
        self._scores = [np.concatenate(self._scores)]
        return self._estimate(self._scores[0])


@dataclass(frozen=True)
class Limits:
    """What ends a run before its plan does.

    Attributes:
        max_standard_error: the run ends when no weight has a larger standard error.
        max_seconds: the run ends when it has taken so long, and has an answer.
    """

    max_standard_error: float | None = None
    max_seconds: float | None = None

    @staticmethod
    def of(parameters: Message) -> "Limits":
        """Those that the parameters of a method have, and a request has set."""
        return Limits(
            **{
                field.name: value
                for field, value in parameters.ListFields()
                if field.name in ("max_standard_error", "max_seconds")
            }
        )

    def reached(self, largest: Callable[[], float | None], elapsed_s: float) -> str | None:
        """Which one is reached, in words; None while none is.

        Args:
            largest: gives the largest standard error; asked only where it is limited.
            elapsed_s: for how long the run has run.
        """
        if (
            self.max_standard_error is not None
            and (error := largest()) is not None
            and error <= self.max_standard_error
        ):
            return f"no standard error is above max_standard_error={self.max_standard_error:g}"
        if self.max_seconds is not None and elapsed_s >= self.max_seconds:
            return f"max_seconds={self.max_seconds:g} have passed"
        return None


def run_plan(
    scorer: PlanScorer,
    masks: NDArray[Any],
    estimator: Estimator,
    report: Report,
    limits: Limits | None = None,
) -> list[Answer]:
    """Scores masks in their order, reports after each batch, and gives the answers.

    Args:
        scorer: scores the masks.
        masks: (N, ...) the plan, a row a mask; all of it must be enough for an answer.
        estimator: makes answers of the scores so far.
        report: told after each batch.
        limits: what ends the run early; None: nothing does.

    Returns:
        One answer a target; with a warning that says why, where the run ended early.
    """
    limits = limits or Limits()
    started_s = time.monotonic()
    current = _Current(estimator, len(masks))
    total = scorer.evaluations + len(masks)
    for scores in scorer.batches(masks):
        current.add(scores)
        report(scorer.evaluations, total, current.answers)
        reason = limits.reached(current.error, time.monotonic() - started_s)
        if reason is not None and current.done < len(masks) and (latest := current.latest()):
            return early_end(latest, scorer.evaluations, total, reason)
    return list(current.latest())


class _Current:
    """The answers of an estimator: made when they are asked for, and not too often."""

    def __init__(self, estimator: Estimator, total: int) -> None:
        self.done = 0
        self._estimator = estimator
        self._total = total
        self._answers: list[Answer] = []
        self._renewed = 0

    def add(self, scores: NDArray[np.float64]) -> None:
        self._estimator.add(scores)
        self.done += len(scores)

    def answers(self) -> list[Answer]:
        """They may be a little older than the last scores."""
        if self.done < self._estimator.growth * self._renewed and self.done < self._total:
            return self._answers
        return self.latest()

    def latest(self) -> list[Answer]:
        if self._renewed < self.done:
            self._answers, self._renewed = self._estimator.answers(), self.done
        return self._answers

    def error(self) -> float | None:
        return largest_error(self.answers())


def early_end(answers: Sequence[Answer], done: int, total: int, reason: str) -> list[Answer]:
    """The answers of a run that ended before its plan did, with a warning that says why."""
    warning = f"stopped after {done} of {total} evaluations: {reason}"
    return [replace(answer, warnings=[*answer.warnings, warning]) for answer in answers]
