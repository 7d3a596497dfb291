"""Checks of perturbation methods: few evaluations, and the same again one image at a time."""

import contextlib
import io

import numpy as np
import torch
from numpy.typing import NDArray

from expound.v1 import method_pb2 as m
from expound_worker.methods.method import Answer
from tests.numeric import test_lime, test_partition_shap, test_permutation_shap
from tests.numeric.models import resolved
from tests.numeric.test_kernel_shap import shapley_values
from tests.numeric.test_rise import smooth_masks
from tests.zoo.checks import Check, difference, efficiency, weights_of
from tests.zoo.subject import Subject

_SIDE = 4
"""Windows, and segments that are replaced, along each side."""
_QUARTERS = m.Segmentation(grid=m.GridSegmentation(rows=2, columns=2))
_COUNT = 4

ABLATION = m.FeatureAblation(
    segmentation=m.Segmentation(grid=m.GridSegmentation(rows=_SIDE, columns=_SIDE))
)
LIME = m.Lime(n_samples=24, segmentation=_QUARTERS, sampling=m.Lime.SAMPLING_LIME)
KERNEL_SHAP = m.KernelShap(n_samples=2**_COUNT, segmentation=_QUARTERS)
PERMUTATION_SHAP = m.PermutationShap(n_samples=2 * _COUNT + 1, segmentation=_QUARTERS)
PARTITION_SHAP = m.PartitionShap(n_samples=16, segmentation=_QUARTERS)
RISE = m.Rise(n_samples=16, grid_size=4)


def windows(subject: Subject) -> m.Occlusion:
    """Windows side by side."""
    height, width = (length // _SIDE for length in subject.image.shape[1:])
    return m.Occlusion(
        window_height=height, window_width=width, stride_height=height, stride_width=width
    )


def losses(subject: Subject, answer: Answer) -> Check:
    """The value of each rectangle is what the probability loses without it."""
    height, width = (length // _SIDE for length in subject.image.shape[1:])
    composites = subject.image.repeat(1 + _SIDE**2, 1, 1, 1)
    for number, (row, column) in enumerate(np.ndindex(_SIDE, _SIDE), start=1):
        rows, columns = (
            slice(at * step, (at + 1) * step) for at, step in ((row, height), (column, width))
        )
        composites[number, :, rows, columns] = 0
    whole, *without = subject.probabilities(composites)
    lost = (whole - np.array(without)).reshape(_SIDE, _SIDE)
    return Check(difference(answer.values, lost.repeat(height, axis=0).repeat(width, axis=1)))


def lime(subject: Subject, answer: Answer) -> Check:
    """The weights are those of the lime library."""
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        weights, _, _ = test_lime.lime_image(
            subject.model, subject.image, answer, resolved(LIME), subject.target, seed=0
        )
    return Check(difference(weights_of(answer), weights))


def kernel_shap(subject: Subject, answer: Answer) -> Check:
    """The weights are Shapley's values, by their definition, and add up."""
    assert answer.segments is not None
    segments = answer.segments

    def scores(masks: NDArray[np.int64]) -> NDArray[np.float64]:
        kept = torch.from_numpy(masks[:, segments])[:, None]
        return subject.probabilities(kept * subject.image)[:, None]

    return _adds_up_and_equals(subject, answer, shapley_values(scores, _COUNT))


def permutation_shap(subject: Subject, answer: Answer) -> Check:
    """The weights are those of shap's PermutationExplainer, and add up."""
    expected = test_permutation_shap.shap_values(
        *(subject.model, subject.image, answer, [subject.target]),
        PERMUTATION_SHAP.n_samples,
        seed=0,
    )
    return _adds_up_and_equals(subject, answer, expected.reshape(-1))


def partition_shap(subject: Subject, answer: Answer) -> Check:
    """The weights are those of shap's PartitionExplainer, and add up."""
    expected = test_partition_shap.shap_values(
        *(subject.model, subject.image, answer, [subject.target]),
        PARTITION_SHAP.n_samples,
        seed=0,
    )
    return _adds_up_and_equals(subject, answer, expected.reshape(-1))


def rise(subject: Subject, answer: Answer) -> Check:
    """The map is the paper's sum over the same masks."""
    given = resolved(RISE)
    masks = smooth_masks(
        given.n_samples, given.grid_size, given.keep_probability, subject.image.shape[1], seed=0
    )
    scores = subject.probabilities(torch.from_numpy(masks).float()[:, None] * subject.image)
    total = np.einsum("n,nhw->hw", scores, masks)
    return Check(difference(answer.values, total / len(masks) / given.keep_probability))


def _adds_up_and_equals(subject: Subject, answer: Answer, expected: NDArray[np.float64]) -> Check:
    return Check(max(efficiency(subject, answer), difference(weights_of(answer), expected)))
