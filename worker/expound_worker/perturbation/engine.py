"""The engine: masks in, the model's probabilities of the composites out."""

from collections.abc import Callable, Iterator, Sequence
from math import isqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.method import MethodError
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baseline
from expound_worker.perturbation.segmentations import segment

MAX_MASK_CELLS = 2**25
"""Masks times segments (or cells) of one plan: what fits into memory as the libraries hold it."""


PixelMasks = Callable[[NDArray[Any]], Tensor]
"""Makes masks of pixels from n rows of a plan: (n, H, W) on the image's device, bool (true where
the image is kept) or float (the image's share, 0 to 1)."""


def refusal_of_one_class(model: Model) -> str | None:
    """Why methods that explain probabilities cannot be right on the model; None if they can."""
    if model.class_count > 1:
        return None
    return (
        "the model has one class, whose softmax is 1 whatever the image shows: use "
        "integrated_gradients instead, or let the model give two logits"
    )


class PlanScorer:
    """Scores composites of an image and its baseline, one for each row of a plan.

    A row is what the method says: which segments are kept, where a window is. Composites are built
    from it on the model's device, a batch at a time: a pixel is the image's where its mask says so,
    the baseline's elsewhere, and a blend of the two where the mask lies between.

    Attributes:
        target_count: T.
        evaluations: composites scored so far.
    """

    def __init__(
        self,
        model: Model,
        image: Tensor,
        baseline: Tensor,
        pixel_masks: PixelMasks,
        targets: Sequence[int],
    ) -> None:
        """Prepares the scoring of (C, H, W) `image` over `baseline` for the classes `targets`."""
        self.target_count = len(targets)
        self.evaluations = 0
        self._model = model
        # Composites take their layout from these, and networks may view their inputs as rows.
        self._image = image.contiguous()
        self._baseline = baseline.contiguous()
        self._pixel_masks = pixel_masks
        self._targets = torch.tensor(targets, device=image.device)

    def batches(self, plan: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
        """Scores the rows of a plan, a batch at a time.

        Args:
            plan: (N, ...) rows, of which `pixel_masks` makes masks.

        Yields:
            (n, T) probability of each target, of the next n rows; n is the model's batch size.

        Raises:
            MethodError: the model gives NaN or infinity.
            torch.OutOfMemoryError: one composite alone needs more memory than the device has.
        """
        start = 0
        while start < len(plan):
            scores = self._score(plan[start : start + self._model.batch_size])
            start += len(scores)
            self.evaluations += len(scores)
            yield scores

    @torch.inference_mode()
    def _score(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """(n, T) probabilities."""
        scores = self._model.probabilities(self._composites(rows), self._targets)
        if not np.isfinite(scores).all():
            raise MethodError(
                Reason.NOT_FINITE,
                "the model gives NaN or infinity for the image with some of its parts replaced by "
                "the baseline: choose another baseline",
            )
        return scores

    def _composites(self, rows: NDArray[Any]) -> Tensor:
        """(n, C, H, W) composites."""
        masks = self._pixel_masks(rows)[:, None].to(self._image)
        # Gives exactly the one or the other at 0 and 1, in an eighth of the time of torch.where.
        return torch.lerp(self._baseline, self._image, masks)


class Scorer(PlanScorer):
    """Scores composites made of segments; a row of its plan is a mask of them, true where kept.

    Attributes:
        segments: (H, W) segment of each pixel, 0 to M - 1.
        segment_count: M.
    """

    def __init__(
        self,
        model: Model,
        image: Tensor,
        baseline: Tensor,
        segments: NDArray[np.int32],
        targets: Sequence[int],
    ) -> None:
        """Prepares the scoring of (C, H, W) `image` over `baseline` for the classes `targets`."""
        super().__init__(model, image, baseline, self._kept_pixels, targets)
        self.segments = segments
        self.segment_count = int(segments.max()) + 1
        self._pixel_segments = torch.tensor(segments.ravel(), dtype=torch.long, device=image.device)

    def _kept_pixels(self, masks: NDArray[np.bool_]) -> Tensor:
        """(n, H, W) masks of pixels."""
        # Floats before they are as many as pixels: to convert those took four fifths of the time.
        kept = torch.from_numpy(masks).to(self._image)
        return kept.index_select(1, self._pixel_segments).view(-1, *self.segments.shape)


def prepare(
    model: Model,
    image: Tensor,
    targets: Sequence[int],
    segmentation: method_pb2.Segmentation,
    baseline: method_pb2.Baseline,
    seed: int,
) -> Scorer:
    """Cuts an image, makes its baseline and gives the scorer of the two.

    Raises:
        MethodError: the segmentation or the baseline does not fit the image.
    """
    segments = segment(segmentation, model.preprocessing, image, seed)
    filler = make_baseline(baseline, model.preprocessing, image, seed, segments)
    return Scorer(model, image, filler, segments, targets)


def check_plan_size(n_samples: int, segment_count: int, parts: str = "segments") -> None:
    """Raises MethodError where a plan of masks would be too large for memory."""
    if n_samples * segment_count > MAX_MASK_CELLS:
        raise MethodError(
            Reason.INVALID_FIELD,
            f"{n_samples} samples over {segment_count} {parts} are too many: their product must "
            f"be at most {MAX_MASK_CELLS}",
            field="n_samples",
        )


def check_segment_count(segment_count: int) -> None:
    """Raises MethodError where a table with a row and a column a segment would be too large."""
    most = isqrt(MAX_MASK_CELLS)
    if segment_count > most:
        raise MethodError(
            Reason.INVALID_FIELD,
            f"{segment_count} segments are too many: the method relates each to each other, and "
            f"takes at most {most}; cut the image into fewer, or use partition_shap",
            field="segmentation",
        )


def pixel_map(weights: NDArray[np.float64], segments: NDArray[np.int32]) -> NDArray[np.float32]:
    """(H, W) map in which each pixel has its segment's weight."""
    return weights[segments].astype(np.float32)
