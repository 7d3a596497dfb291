"""Partition SHAP: Owen values over a hierarchy of segments."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.method import Answer, PerturbationMethod, Report
from expound_worker.models.model import Model
from expound_worker.perturbation.answers import additive_answers
from expound_worker.perturbation.anytime import Limits, early_end
from expound_worker.perturbation.engine import (
    Scorer,
    check_plan_size,
    prepare,
    refusal_of_one_class,
)
from expound_worker.perturbation.hierarchy import context_counts, halving_tree
from expound_worker.perturbation.owen import OwenValues
from expound_worker.perturbation.segmentations import finest_grid

_SMALLEST_ROUND = 10
"""Evaluations of one round at least; shap's own default."""
_ROUNDS = 8
"""The score is looked at this many times at least before the budget is spent."""


class PartitionShap(PerturbationMethod):
    """Partition SHAP: Owen values (`OwenValues`), equal to those of shap's PartitionExplainer.

    The value of a group is divided between its halves, down to the segments; the group whose value
    is largest goes first. Where the budget ends inside a group, its segments share its value
    equally. The hierarchy halves groups along their longer side (`halving_tree`).

    Values (H, W): each pixel has its segment's value. The segments' values sum to the score minus
    the baseline's, and `convergence_delta` is what is left. Standard errors say how far they may be
    from those with all groups divided (`OwenErrors`); chance only decides between groups of equal
    value. They are 0 when all are divided.

    Cost: up to `n_samples` evaluations, those of the image and the baseline among them; fewer when
    all groups are divided.
    """

    name = "partition_shap"

    def refusal(self, model: Model) -> str | None:
        """Needs two classes."""
        return refusal_of_one_class(model)

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
        return _run(scorer, parameters.n_samples, seed, report, Limits.of(parameters))


def _run(scorer: Scorer, n_samples: int, seed: int, report: Report, limits: Limits) -> list[Answer]:
    """Divides groups in rounds, as shap does, until the budget is spent or all are divided."""
    started_s = time.monotonic()
    linkage = halving_tree(scorer.segments)
    ends = np.concatenate(list(scorer.batches(_ends(scorer.segment_count))))
    owen = OwenValues(linkage, ends, seed)

    def answers() -> list[Answer]:
        done, errors = scorer.evaluations, owen.standard_errors()
        return additive_answers(owen.values(), ends, done, scorer.segments, errors)

    def largest_error() -> float | None:
        errors = owen.standard_errors()
        return None if errors is None else float(errors.max())

    budget = _even(n_samples)
    total = min(budget, len(ends) + _full_cost(linkage))
    size = max(_SMALLEST_ROUND, n_samples // _ROUNDS)
    while len(masks := owen.next_masks(min(size, budget - scorer.evaluations))):
        for scores in scorer.batches(masks):
            owen.add(scores)
            done = scorer.evaluations
            report(done, total, answers)
            reason = limits.reached(largest_error, time.monotonic() - started_s)
            if reason is not None and _SMALLEST_ROUND <= done < total:
                return early_end(answers(), done, total, reason)
    return answers()


def _ends(segment_count: int) -> NDArray[np.bool_]:
    """(2, M) masks of the baseline and of the image."""
    return np.repeat([[False], [True]], segment_count, axis=1)


def _even(budget: int) -> int:
    """Shap evaluates in pairs, and would go beyond an odd budget."""
    return budget - budget % 2


def _full_cost(linkage: NDArray[np.float64]) -> int:
    """Evaluations after which every group is divided: a pair for each of its contexts."""
    return int(min(2 * context_counts(linkage).sum(), np.iinfo(np.int64).max))
