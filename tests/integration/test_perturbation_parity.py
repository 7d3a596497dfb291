"""Perturbation maps that come through the whole service equal those of Captum, lime and shap."""

import captum.attr
import numpy as np
import pytest
import shap
import torch
from lime.lime_base import LimeBase
from numpy.typing import NDArray

from expound_client import Attribution, Client
from expound_client import methods as m
from tests import photos
from tests.integration.references import answer, explained, image_of, same
from tests.numeric import test_partition_shap, test_permutation_shap
from tests.numeric.test_occlusion import captums as captums_occlusion
from tests.numeric.test_rise import smooth_masks

SMALL = ["cifar", "resnet18", "handwritten"]
GRID = m.GridSegmentation(rows=3, columns=3)
ROUNDING = 1e-4
"""Of a map of differences of probabilities, each rounded to float32 and nearly the same."""


def segments_and_weights(ours: Attribution) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """What a map is made of."""
    assert ours.segments is not None and ours.weights is not None
    assert np.array_equal(ours.values, ours.weights.astype(np.float32)[ours.segments])
    return ours.segments, ours.weights


def literal_scores(
    name: str, segments: NDArray[np.int32], masks: NDArray[np.bool_], target: int
) -> NDArray[np.float64]:
    """Probability of the target for each mask, one image at a time, segments over zeros."""
    image = image_of(name)[0]
    scores = []
    for mask in masks:
        kept = torch.from_numpy(np.isin(segments, np.flatnonzero(mask)))
        with torch.inference_mode():
            logits = photos.model(name).module(torch.where(kept, image, 0.0)[None])
        scores.append(float(logits.double().softmax(1)[0, target]))
    return np.array(scores)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "cifar"])
def test_lime_equals_limes_own_fit_on_the_same_masks(client: Client, name: str) -> None:
    ours = explained(client, name, m.Lime(n_samples=100, sampling="lime"), seed=3)
    segments, weights = segments_and_weights(ours)
    count = len(weights)
    masks = np.random.RandomState(3).randint(0, 2, 100 * count).reshape(100, count)
    masks[0] = 1
    scores = literal_scores(name, segments, masks.astype(bool), ours.target.index)
    norms = np.linalg.norm(masks, axis=1) * np.sqrt(count)
    distances = 1 - masks.sum(axis=1) / np.where(norms == 0, 1, norms)
    base = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)), random_state=0)
    _, fitted, _, _ = base.explain_instance_with_data(masks, scores[:, None], distances, 0, count)
    reference = np.zeros(count)
    for segment, weight in fitted:
        reference[segment] = weight
    assert np.abs(weights - reference).max() <= 1e-4


@pytest.mark.parametrize("name", ["efficientnet_lite0", "cifar"])
def test_kernel_shap_equals_shaps_own_explainer(client: Client, name: str) -> None:
    ours = explained(client, name, m.KernelShap(n_samples=100, sampling="shap"), seed=3)
    segments, weights = segments_and_weights(ours)
    target, count = ours.target.index, len(weights)

    def score(masks: NDArray[np.float64]) -> NDArray[np.float64]:
        return literal_scores(name, segments, masks.astype(bool), target)

    state = np.random.get_state()
    np.random.seed(3)
    explainer = shap.KernelExplainer(score, np.zeros((1, count)))
    reference = explainer.shap_values(np.ones(count), nsamples=100, l1_reg=False, silent=True)
    np.random.set_state(state)
    assert np.abs(weights - reference).max() <= 1e-4
    assert weights.sum() == pytest.approx(
        float(np.diff(score(np.array([np.zeros(count), np.ones(count)])))[0]), abs=1e-5
    )


@pytest.mark.parametrize("name", SMALL)
def test_permutation_shap_equals_shaps_own_explainer(client: Client, name: str) -> None:
    method = m.PermutationShap(n_samples=60, segmentation=GRID)
    ours = explained(client, name, method, seed=5)
    _, weights = segments_and_weights(ours)
    expected = test_permutation_shap.shap_values(
        photos.model(name), image_of(name)[0], answer(ours), [ours.target.index], 60, seed=5
    )
    assert np.abs(weights - expected.ravel()).max() <= 1e-6


@pytest.mark.parametrize("name", SMALL)
def test_partition_shap_equals_shaps_own_explainer(client: Client, name: str) -> None:
    ours = explained(client, name, m.PartitionShap(n_samples=80), seed=5)
    _, weights = segments_and_weights(ours)
    expected = test_partition_shap.shap_values(
        photos.model(name), image_of(name)[0], answer(ours), [ours.target.index], 80, seed=5
    )
    assert np.abs(weights - expected.ravel()).max() <= 1e-6


@pytest.mark.parametrize("name", SMALL)
def test_occlusion_equals_captums(client: Client, name: str) -> None:
    length = image_of(name).shape[2] // 4
    stride = length - 2
    method = m.Occlusion(
        window_height=length, window_width=length, stride_height=stride, stride_width=stride
    )
    ours = explained(client, name, method)
    segments_and_weights(ours)
    expected = captums_occlusion(
        *(photos.model(name), image_of(name)[0], ours.target.index),
        window=(length, length),
        stride=(stride, stride),
    )
    same(ours.values, expected[0], ROUNDING)


@pytest.mark.parametrize("name", ["efficientnet_lite0", *SMALL])
def test_feature_ablation_equals_captums(client: Client, name: str) -> None:
    method = m.FeatureAblation(segmentation=GRID, baseline=m.ColorBaseline())
    ours = explained(client, name, method)
    segments, _ = segments_and_weights(ours)
    model, image = photos.model(name), image_of(name)
    black = model.preprocessing.normalize_color((0.0, 0.0, 0.0)).expand_as(image)
    expected = captum.attr.FeatureAblation(
        lambda inputs: model.logits(inputs).double().softmax(dim=1)
    ).attribute(
        image,
        baselines=black,
        target=ours.target.index,
        feature_mask=torch.tensor(segments).long()[None, None],
    )
    same(ours.values, expected[0, 0], ROUNDING)


@pytest.mark.parametrize("name", SMALL)
def test_rise_equals_the_papers_sum_over_the_same_masks(client: Client, name: str) -> None:
    ours = explained(client, name, m.Rise(n_samples=40, grid_size=5), seed=4)
    model, image = photos.model(name), image_of(name)[0]
    total = np.zeros(image.shape[1:])
    for mask in smooth_masks(40, 5, 0.5, image.shape[1], seed=4):
        composite = torch.from_numpy(mask).float() * image
        probability = model.logits(composite[None]).double().softmax(1)[0, ours.target.index]
        total += mask * float(probability)
    same(ours.values, total / 40 / 0.5, ROUNDING)
