"""Partition SHAP: Owen values over a hierarchy of segments."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.method import Answer, Report
from expound_worker.models.model import Model
from expound_worker.perturbation.answers import additive_answers
from expound_worker.perturbation.anytime import Limits, early_end
from expound_worker.perturbation.engine import Scorer, check_plan_size, prepare
from expound_worker.perturbation.hierarchy import halving_tree
from expound_worker.perturbation.randomness import GlobalRandomness
from expound_worker.perturbation.segmentations import finest_grid
from expound_worker.perturbation.shap_explainers import PartitionExplainer

_ENDS = 2
"""Evaluations of the baseline and of the image, with which shap begins."""
_SMALLEST_ROUND = 10
"""Evaluations of one round at least; shap's own default."""
_ROUNDS = 8
"""The score is looked at this many times at least before the budget is spent."""
_GROWTH = 1.5
"""An estimate is offered when there are this many times the scores of the last one: each runs
shap's algorithm again, and together they cost a few times what it costs once."""

_Evaluate = Callable[[NDArray[np.bool_]], NDArray[np.float64]]


class PartitionShap:
    """Partition SHAP: Owen values (Owen, 1977) by shap's PartitionExplainer.

    The value of a group is divided between its halves as between two players, ``phi(left) =
    1/2 [f(left) - f(nothing)] + 1/2 [f(both) - f(right)]``, with and without the rest of the
    image, down to the segments; the group whose value is largest goes first. Where the budget ends
    inside a group, its segments share its value equally. The hierarchy halves groups along their
    longer side (`halving_tree`).

    Values (H, W): each pixel has its segment's value. The segments' values sum to the score minus
    the baseline's, and `convergence_delta` is what is left. They have no standard error: chance
    only decides between groups of equal value.

    Cost: up to `n_samples` evaluations, those of the image and the baseline among them; fewer when
    all groups are divided.
    """

    name = "partition_shap"

    def refusal(self, model: Model) -> str | None:
        """Right on every model."""
        return None

    def attribute(
        self,
        model: Model,
        image: Tensor,
        targets: Sequence[int],
        parameters: method_pb2.PartitionShap,
        seed: int,
        report: Report,
    ) -> list[Answer]:
        """Explains one input, as `PerturbationMethod.attribute` says."""
        segmentation = parameters.segmentation
        if segmentation.WhichOneof("segmentation") is None:
            segmentation = finest_grid(*image.shape[1:])
        scorer = prepare(model, image, targets, segmentation, parameters.baseline, seed)
        check_plan_size(parameters.n_samples, scorer.segment_count)
        limits = Limits.of(parameters)
        return _Run(scorer, parameters.n_samples, seed, report, limits).answers()


class _TimeIsUp(Exception):
    """The limit of time is reached, and shap would go on."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class _Run:
    """One run of shap's explainer, which can be run again over the scores so far.

    From the same seed, shap asks for the same masks in the same order for as long as its budget
    lasts; so what a smaller budget would have given is known without the model.
    """

    def __init__(
        self, scorer: Scorer, n_samples: int, seed: int, report: Report, limits: Limits
    ) -> None:
        self._scorer = scorer
        self._seed = seed
        self._report = report
        self._limits = limits
        self._started_s = time.monotonic()
        self._budget = n_samples
        self._round = max(_SMALLEST_ROUND, n_samples // _ROUNDS)
        self._linkage = halving_tree(scorer.segments)
        self._total = min(_even(n_samples), _ENDS + _full_cost(self._linkage))
        self._scores = np.empty((0, scorer.target_count))
        self._estimated = 0

    def answers(self) -> list[Answer]:
        """Runs shap's explainer on the model."""
        randomness = GlobalRandomness(self._seed)

        def evaluate(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
            with randomness.swapped():  # what runs here finds the process' own state
                return self._evaluate(masks)

        try:
            with randomness.swapped():
                return self._explain(evaluate, self._budget)
        except _TimeIsUp as end:
            return early_end(self._estimate(), len(self._scores), self._total, end.reason)

    def _evaluate(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(N, T) scores of masks; reports after each batch."""
        first = len(self._scores)
        for scores in self._scorer.batches(masks):
            self._scores = np.concatenate([self._scores, scores])
            done = len(self._scores)
            offered = done >= max(_ENDS, _GROWTH * self._estimated)
            self._report(done, self._total, self._estimate if offered else None)
            reason = self._limits.reached(lambda: None, time.monotonic() - self._started_s)
            if reason is not None and _SMALLEST_ROUND <= done < self._total:
                raise _TimeIsUp(reason)
        return self._scores[first:]

    def _estimate(self) -> list[Answer]:
        """Runs shap's explainer on the scores so far."""
        self._estimated = len(self._scores)
        waiting = iter(self._scores)

        def replay(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
            return np.array([next(waiting) for _ in masks])

        with GlobalRandomness(self._seed).swapped():
            return self._explain(replay, len(self._scores))

    def _explain(self, evaluate: _Evaluate, budget: int) -> list[Answer]:
        masker = _MaskItself(self._linkage)
        row = PartitionExplainer(evaluate, masker).explain_row(
            np.zeros(masker.shape),
            max_evals=_even(budget),
            batch_size=self._round,
            main_effects=False,
            error_bounds=False,
            outputs=None,
            silent=True,
        )
        done, ends = len(self._scores), self._scores[:_ENDS]
        return additive_answers(row["values"], ends, done, self._scorer.segments)


class _MaskItself:
    """shap's masker for a model that takes the masks themselves."""

    immutable_outputs = True

    def __init__(self, linkage: NDArray[np.float64]) -> None:
        self.clustering = linkage
        self.shape = (1, len(linkage) + 1)

    def __call__(
        self, mask: NDArray[np.bool_], *_: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_]]:
        """The mask, as the one row that shap would otherwise make of mask and input."""
        return (mask[np.newaxis],)


def _even(budget: int) -> int:
    """Shap evaluates in pairs, and would go beyond an odd budget."""
    return budget - budget % 2


def _full_cost(linkage: NDArray[np.float64]) -> int:
    """Evaluations after which every group is divided: a pair for each of its contexts."""
    count = len(linkage) + 1
    contexts = np.ones(2 * count - 1)
    for row in range(len(linkage) - 1, -1, -1):
        contexts[linkage[row, :2].astype(int)] = 2 * contexts[count + row]
    return int(min(2 * contexts[count:].sum(), np.iinfo(np.int64).max))
