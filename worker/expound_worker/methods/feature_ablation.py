"""Feature ablation: the score that is lost when one segment is replaced."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.method import PROBABILITY, Answer, PerturbationMethod, Report
from expound_worker.models.model import Model
from expound_worker.perturbation.anytime import AllScores, run_plan
from expound_worker.perturbation.baselines import make_baseline
from expound_worker.perturbation.engine import PlanScorer, pixel_map, refusal_of_one_class
from expound_worker.perturbation.segmentations import segment

_NOTHING = -1
"""The row of the image itself, in a plan that names the segment to replace."""


class FeatureAblation(PerturbationMethod):
    """``f(x) - f(x with segment s replaced by the baseline)``, for each segment s.

    The plainest attribution there is (Zeiler and Fergus, 2014, with segments for windows), and
    Captum's FeatureAblation with the segmentation as its feature mask, on probabilities. Exact:
    there is no chance in it but the segmentation's, and so no standard error.

    Values (H, W), in probability: each pixel has its segment's weight. They do not add up to
    anything: segments that stand in for one another lose nothing each. In early estimates, segments
    that were not yet replaced have 0.

    Cost: one evaluation a segment, and one for the image.
    """

    name = "feature_ablation"

    def refusal(self, model: Model) -> str | None:
        """Needs two classes."""
        return refusal_of_one_class(model)

    def attribute(
        self,
        model: Model,
        image: Tensor,
        targets: Sequence[int],
        parameters: method_pb2.FeatureAblation,
        seed: int,
        report: Report,
    ) -> list[Answer]:
        """Explains one input, as `PerturbationMethod.attribute` says."""
        segments = segment(parameters.segmentation, model.preprocessing, image, seed)
        baseline = make_baseline(parameters.baseline, model.preprocessing, image, seed, segments)
        on_device = torch.tensor(segments, device=image.device)

        def all_but(replaced: NDArray[np.int32]) -> Tensor:
            return on_device != torch.from_numpy(replaced).to(image.device)[:, None, None]

        scorer = PlanScorer(model, image, baseline, all_but, targets)
        plan = np.arange(_NOTHING, segments.max() + 1, dtype=np.int32)
        return run_plan(scorer, plan, AllScores(_Losses(segments)), report)


class _Losses:
    """Makes answers of the scores of the image and of the first segments' replacements."""

    def __init__(self, segments: NDArray[np.int32]) -> None:
        self._segments = segments

    def __call__(self, scores: NDArray[np.float64]) -> list[Answer]:
        if len(scores) < 2:
            return []
        return [self._answer(scores[:, target]) for target in range(scores.shape[1])]

    def _answer(self, scores: NDArray[np.float64]) -> Answer:
        weights = np.zeros(self._segments.max() + 1)
        weights[: len(scores) - 1] = scores[0] - scores[1:]
        return Answer(
            values=pixel_map(weights, self._segments),
            score=PROBABILITY,
            output=float(scores[0]),
            evaluations=len(scores),
            segments=self._segments,
            weights=weights,
        )
