"""Feature ablation equals Captum's on probabilities, with the segments as its feature mask."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor

from expound.tensors import to_tensor
from expound.v1 import method_pb2 as m
from expound_worker.methods.feature_ablation import FeatureAblation
from expound_worker.methods.method import Answer
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baseline
from tests.numeric.models import Reports, ignore, resolved

METHOD = FeatureAblation()
BASELINES = {
    "zero": m.Baseline(zero=m.ZeroBaseline()),
    "blur": m.Baseline(blur=m.BlurBaseline()),
    "segment_mean": m.Baseline(segment_mean=m.SegmentMeanBaseline()),
}


def explained(
    model: Model, image: Tensor, parameters: m.FeatureAblation, targets: list[int]
) -> list[Answer]:
    return METHOD.attribute(model, image, targets, resolved(parameters), 0, ignore)


def probabilities(model: Model, inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        scores: Tensor = model.module(inputs).double().softmax(dim=1)
        return scores


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(
    "segmentation",
    [m.Segmentation(slic=m.SlicSegmentation()), m.Segmentation(grid=m.GridSegmentation())],
    ids=["slic", "grid"],
)
def test_values_equal_captums(
    segmentation: m.Segmentation, name: str, cifar: Model, thumbnail: Tensor
) -> None:
    parameters = m.FeatureAblation(segmentation=segmentation, baseline=BASELINES[name])
    answers = explained(cifar, thumbnail, parameters, [6, 3])
    for answer, target in zip(answers, [6, 3], strict=True):
        assert answer.segments is not None and answer.weights is not None
        baseline = make_baseline(
            parameters.baseline, cifar.preprocessing, thumbnail, 0, answer.segments
        )
        expected = captum.attr.FeatureAblation(lambda x: probabilities(cifar, x)).attribute(
            thumbnail[None],
            baselines=baseline[None],
            target=target,
            feature_mask=torch.tensor(answer.segments).long()[None, None],
        )
        for channel in expected[0]:
            assert np.allclose(answer.values, channel, atol=1e-6)
        assert answer.evaluations == len(answer.weights) + 1


def test_values_equal_captums_on_efficientnet(efficientnet: Model, photo: Tensor) -> None:
    grid = m.Segmentation(grid=m.GridSegmentation(rows=3, columns=3))
    parameters = m.FeatureAblation(segmentation=grid)
    (answer,) = explained(efficientnet, photo, parameters, [281])
    assert answer.segments is not None
    expected = captum.attr.FeatureAblation(lambda x: probabilities(efficientnet, x)).attribute(
        photo[None],
        target=281,
        feature_mask=torch.tensor(answer.segments).long()[None, None],
        perturbations_per_eval=9,
    )
    assert np.allclose(answer.values, expected[0, 0], atol=1e-6)


def test_a_segment_a_pixel_needs_no_more_memory_than_a_batch(
    cifar: Model, thumbnail: Tensor
) -> None:
    labels = np.arange(32 * 32, dtype=np.int32).reshape(32, 32)
    segmentation = m.Segmentation(labels=to_tensor(labels))
    (answer,) = explained(cifar, thumbnail, m.FeatureAblation(segmentation=segmentation), [6])
    without = thumbnail.clone()
    without[:, 20, 9] = 0
    scores = probabilities(cifar, torch.stack([thumbnail, without]))[:, 6]
    assert answer.values[20, 9] == pytest.approx(float(scores[0] - scores[1]), abs=1e-6)


def test_early_estimates_are_the_final_weights_of_the_segments_so_far(
    cifar: Model, thumbnail: Tensor
) -> None:
    reports = Reports()
    parameters = resolved(m.FeatureAblation())
    (answer,) = METHOD.attribute(cifar, thumbnail, [6], parameters, 0, reports)
    assert answer.weights is not None
    first = reports.estimates[0]
    assert first is not None and first[0].weights is not None
    assert np.array_equal(first[0].weights[:15], answer.weights[:15])  # of a batch of 16
    assert not first[0].weights[15:].any()
