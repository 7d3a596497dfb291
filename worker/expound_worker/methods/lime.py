"""LIME: a linear surrogate of the model around one image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.method import PROBABILITY, Answer, PerturbationMethod, Report
from expound_worker.models.model import Model
from expound_worker.perturbation.answers import doubted
from expound_worker.perturbation.anytime import AllScores, Limits, run_plan
from expound_worker.perturbation.covariance import Parity
from expound_worker.perturbation.engine import (
    Scorer,
    check_plan_size,
    check_segment_count,
    pixel_map,
    prepare,
    refusal_of_one_class,
)
from expound_worker.perturbation.functionals import LimeMasks, lime_slopes
from expound_worker.perturbation.lime_fit import LimeFit
from expound_worker.perturbation.lime_selection import most_influential
from expound_worker.perturbation.paired_designs import orthogonal_pairs
from expound_worker.perturbation.paired_weights import PairedWeights
from expound_worker.perturbation.surrogate import (
    FitQuality,
    check_neighbours,
    kernel_weights,
    poor_fit,
)

_ENDS = 2
"""Evaluations of the baseline and of the image."""


class Lime(PerturbationMethod):
    """LIME for images (Ribeiro et al., 2016, "Why Should I Trust You?").

    Weights ``b`` that minimise ``sum k(z) (f(z) - a - z.b)^2`` over masks ``z`` in which each
    segment is kept with probability 1/2, with the kernel
    ``k(z) = sqrt(exp(-d(z)^2 / kernel_width^2))`` on the cosine distance ``d`` to the whole image.

    With `ORTHOGONAL` sampling masks come in pairs with their complements, as rows of orthogonal
    arrays (`orthogonal_pairs`). The weights are those that the regression would have over all 2^M
    masks, as a Gaussian process knows them that has learned the score (`PairedWeights`,
    `lime_slopes`); with `n_features`, those of the segments that lime would choose
    (`most_influential`). Of EfficientNet-Lite0 on five photos of 20 to 31 segments, 128, 256 and
    500 evaluations had mean relative errors of 0.308, 0.214 and 0.150; lime had 0.325, 0.231 and
    0.167 with twice as many.

    With `LIME` sampling masks are drawn as `lime.lime_image` draws them, and fitted by
    `lime.lime_base`, whose ridge penalty of 1 makes the weights a little smaller (`LimeFit`).

    Values (H, W): each pixel has its segment's weight. The weights do not add up to anything, so
    there is no convergence delta. Standard errors say how far the weights would be others with
    all masks: 1.96 of them to both sides hold those in about 95 % of the cases, within the limits
    that `PairedWeights` names; beyond them the answer has a warning (`doubted`). They know nothing
    of how well a linear model fits at all: `r_squared` does. Segments that `n_features` leaves out
    have neither weight nor error. A surrogate that explains little is warned of.

    Cost: `n_samples` evaluations; one more for the baseline, and one for the image where it is
    none of the samples.
    """

    name = "lime"

    def refusal(self, model: Model) -> str | None:
        """Needs two classes."""
        return refusal_of_one_class(model)

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
        check_segment_count(scorer.segment_count)
        check_plan_size(parameters.n_samples, scorer.segment_count)
        limits = Limits.of(parameters)
        if parameters.sampling == method_pb2.Lime.SAMPLING_LIME:
            fit = LimeFit(scorer, parameters, seed)
            return run_plan(scorer, fit.plan, AllScores(fit), report, limits)
        slopes = _Slopes(scorer, parameters, seed)
        return run_plan(scorer, slopes.plan, slopes, report, limits)


class _Slopes:
    """The estimator of LIME's slopes from orthogonal pairs."""

    growth = 1.1

    def __init__(self, scorer: Scorer, parameters: method_pb2.Lime, seed: int) -> None:
        count = scorer.segment_count
        self._scorer = scorer
        self._n_features = parameters.n_features or count
        pairs = orthogonal_pairs(parameters.n_samples // 2, count, seed)
        self._kernel = _kernel(count, parameters.kernel_width)
        sizes = pairs.sum(axis=1)
        drawn = self._kernel[np.concatenate([[count], sizes, count - sizes])]
        check_neighbours(drawn, parameters.kernel_width)
        self._masks = LimeMasks.of(count, parameters.kernel_width)
        self._weights = PairedWeights(
            lime_slopes(count, parameters.kernel_width), list(Parity), pairs, scorer.target_count
        )
        self.plan = self._weights.plan
        self._quality = FitQuality(count, scorer.target_count)
        self._ends = np.empty((0, scorer.target_count))
        self._done = 0

    def add(self, scores: NDArray[np.float64]) -> None:
        """Takes in the next scores."""
        first = max(_ENDS - self._done, 0)
        self._ends = np.concatenate([self._ends, scores[:first]])
        masks = self.plan[self._done : self._done + len(scores)][first:]
        self._quality.add(masks, scores[first:], self._kernel[masks.sum(axis=1)])
        self._done += len(scores)
        self._weights.add(scores)

    def answers(self) -> list[Answer]:
        """The weights as they stand."""
        if not self._weights.enough:
            return []
        weights, errors = self._weights.estimate()
        weights = np.stack(
            [most_influential(w, self._n_features, self._masks) for w in weights.T], 1
        )
        errors[weights == 0] = 0.0
        intercepts, r_squared = self._quality.of(weights)
        segments = self._scorer.segments
        return [
            doubted(
                Answer(
                    values=pixel_map(weights[:, target], segments),
                    score=PROBABILITY,
                    output=float(self._ends[1, target]),
                    evaluations=self._scorer.evaluations,
                    baseline_output=float(self._ends[0, target]),
                    segments=segments,
                    weights=weights[:, target],
                    standard_errors=errors[:, target],
                    intercept=float(intercepts[target]),
                    r_squared=float(r_squared[target]),
                    warnings=poor_fit(float(r_squared[target])),
                )
            )
            for target in range(self._scorer.target_count)
        ]


def _kernel(segment_count: int, width: float) -> NDArray[np.float64]:
    """(M + 1,) weight of a mask by its size."""
    return kernel_weights(1 - np.sqrt(np.arange(segment_count + 1) / segment_count), width)
