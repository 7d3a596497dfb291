"""The engine: masks over segments in, the model's probabilities of the composites out."""

from collections.abc import Iterator, Sequence

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
"""Masks times segments of one plan: what fits into memory as the libraries hold it."""


class Scorer:
    """Scores composites of an image and its baseline.

    Composites are built on the model's device, a batch at a time: a pixel is the image's where its
    segment is kept, and the baseline's elsewhere.

    Attributes:
        segments: (H, W) segment of each pixel, 0 to M - 1.
        segment_count: M.
        target_count: T.
        evaluations: composites scored so far.
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
        self.segments = segments
        self.segment_count = int(segments.max()) + 1
        self.target_count = len(targets)
        self.evaluations = 0
        self._model = model
        # Composites take their layout from these, and networks may view their inputs as rows.
        self._image = image.contiguous()
        self._baseline = baseline.contiguous()
        self._targets = torch.tensor(targets, device=image.device)
        self._pixel_segments = torch.from_numpy(segments.ravel()).to(image.device, torch.long)
        self._batch_size = model.batch_size

    def batches(self, masks: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
        """Scores masks, a batch at a time.

        A batch that does not fit into the device's memory is halved, and so are those after it.

        Args:
            masks: (N, M), true where a segment is kept.

        Yields:
            (n, T) probability of each target, of the next n masks; n is the model's batch size.

        Raises:
            MethodError: the model gives NaN or infinity, or one composite alone needs more memory
                than the device has.
        """
        start = 0
        while start < len(masks):
            scores = self._score(masks[start : start + self._batch_size])
            if scores is None:
                self._halve_batch()
                continue
            start += len(scores)
            self.evaluations += len(scores)
            yield scores

    @torch.inference_mode()
    def _score(self, masks: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """(n, T) probabilities; None where the device's memory did not suffice."""
        try:
            logits = self._model.logits(self._composites(masks))
            probabilities = logits.softmax(dim=1, dtype=torch.float64)[:, self._targets]
            scores: NDArray[np.float64] = probabilities.cpu().numpy()
        except torch.OutOfMemoryError:
            return None
        if not np.isfinite(scores).all():
            raise MethodError(
                Reason.NOT_FINITE,
                "the model gives NaN or infinity for the image with some of its parts replaced by "
                "the baseline: choose another baseline",
            )
        return scores

    def _composites(self, masks: NDArray[np.bool_]) -> Tensor:
        """(n, C, H, W) composites."""
        kept = torch.from_numpy(masks).to(self._image.device)
        kept_pixels = kept.index_select(1, self._pixel_segments)
        height, width = self.segments.shape
        return torch.where(kept_pixels.view(-1, 1, height, width), self._image, self._baseline)

    def _halve_batch(self) -> None:
        if self._batch_size == 1:
            raise MethodError(
                Reason.OUT_OF_MEMORY, "the device has not enough memory for a batch of one image"
            )
        self._batch_size //= 2
        if self._image.is_cuda:
            torch.cuda.empty_cache()


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


def check_plan_size(n_samples: int, segment_count: int) -> None:
    """Raises MethodError where a plan of masks would be too large for memory."""
    if n_samples * segment_count > MAX_MASK_CELLS:
        raise MethodError(
            Reason.INVALID_FIELD,
            f"{n_samples} samples over {segment_count} segments are too many: their product must "
            f"be at most {MAX_MASK_CELLS}",
            field="n_samples",
        )


def pixel_map(weights: NDArray[np.float64], segments: NDArray[np.int32]) -> NDArray[np.float32]:
    """(H, W) map in which each pixel has its segment's weight."""
    return weights[segments].astype(np.float32)
