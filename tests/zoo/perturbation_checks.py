"""Checks of perturbation methods: few evaluations, and the same again one image at a time."""

import contextlib
import io

import numpy as np
import torch
from numpy.typing import NDArray

from expound.v1 import method_pb2 as m
from expound_worker.methods.method import Answer
from tests.numeric import test_lime, test_partition_shap, test_permutation_shap
from tests.numeric.models import plain_scores, resolved
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
LIME = m.Lime(n_samples=24, segmentation=_QUARTERS)
KERNEL_SHAP = m.KernelShap(n_samples=2**_COUNT, segmentation=_QUARTERS)
PERMUTATION_SHAP = m.PermutationShap(n_samples=2 * (2 * _COUNT + 1), segmentation=_QUARTERS)
PARTITION_SHAP = m.PartitionShap(n_samples=24, segmentation=_QUARTERS)
RISE = m.Rise(n_samples=16, grid_size=4)


def windows(subject: Subject) -> m.Occlusion:
    """Windows side by side."""
    height, width = (length // _SIDE for length in subject.image.shape[1:])
    return m.Occlusion(
        window_height=height, window_width=width, stride_height=height, stride_width=width
    )


def losses(subject: Subject, answer: Answer) -> Check:
    """The value of each rectangle is what the probability loses without it."""
    expected = np.zeros(subject.image.shape[1:])
    whole = subject.probability(subject.image)
    for rows in np.split(np.arange(expected.shape[0]), _SIDE):
        for columns in np.split(np.arange(expected.shape[1]), _SIDE):
            without = subject.image.clone()
            without[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 0
            expected[np.ix_(rows, columns)] = whole - subject.probability(without)
    return Check(difference(answer.values, expected))


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
    scores = plain_scores(
        subject.model, subject.image, subject.zeros, answer.segments, [subject.target]
    )
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
    total = np.zeros(masks.shape[1:])
    for mask in masks:
        shown = torch.from_numpy(mask).float() * subject.image
        total += mask * subject.probability(shown)
    return Check(difference(answer.values, total / len(masks) / given.keep_probability))


def _adds_up_and_equals(subject: Subject, answer: Answer, expected: NDArray[np.float64]) -> Check:
    return Check(max(efficiency(subject, answer), difference(weights_of(answer), expected)))
