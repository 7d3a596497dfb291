"""Occlusion equals Captum's, whatever the windows."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.method import Answer, MethodError
from expound_worker.methods.occlusion import Occlusion
from expound_worker.models.model import Model
from tests.numeric.models import Reports, ignore, resolved

METHOD = Occlusion()


def explained(
    model: Model, image: Tensor, parameters: m.Occlusion, targets: list[int]
) -> list[Answer]:
    return METHOD.attribute(model, image, targets, resolved(parameters), 0, ignore)


def captums(
    model: Model, image: Tensor, target: int, window: tuple[int, int], stride: tuple[int, int]
) -> Tensor:
    def probabilities(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            scores: Tensor = model.module(inputs).double().softmax(dim=1)
            return scores

    values: Tensor = captum.attr.Occlusion(probabilities).attribute(
        image[None],
        sliding_window_shapes=(3, *window),
        strides=(3, *stride),
        target=target,
        perturbations_per_eval=16,
    )
    return values[0]


def asked(window: tuple[int, int], stride: tuple[int, int]) -> m.Occlusion:
    return m.Occlusion(
        window_height=window[0],
        window_width=window[1],
        stride_height=stride[0],
        stride_width=stride[1],
    )


@pytest.mark.parametrize(
    ("window", "stride"),
    [
        ((8, 8), (4, 4)),
        ((8, 4), (8, 4)),  # side by side
        ((7, 5), (3, 4)),  # edges that do not meet, and windows cut off at the far side
        ((10, 3), (9, 3)),
        ((32, 6), (1, 6)),  # as high as the image
        ((32, 32), (32, 32)),
    ],
)
def test_values_equal_captums(
    window: tuple[int, int], stride: tuple[int, int], cifar: Model, thumbnail: Tensor
) -> None:
    answers = explained(cifar, thumbnail, asked(window, stride), [6, 3])
    for answer, target in zip(answers, [6, 3], strict=True):
        for channel in captums(cifar, thumbnail, target, window, stride):
            assert np.allclose(answer.values, channel, atol=1e-6)
        assert answer.segments is not None and answer.weights is not None
        assert np.array_equal(np.unique(answer.segments), np.arange(len(answer.weights)))
        assert np.array_equal(answer.values, answer.weights.astype(np.float32)[answer.segments])


def test_windows_are_an_eighth_of_the_input_and_overlap_by_half_unless_said_otherwise(
    efficientnet: Model, cifar: Model, thumbnail: Tensor
) -> None:
    (answer,) = explained(cifar, thumbnail, m.Occlusion(), [6])
    (same,) = explained(cifar, thumbnail, asked((4, 4), (2, 2)), [6])
    assert np.array_equal(answer.values, same.values)
    assert answer.evaluations == 15**2 + 1


def test_windows_of_a_pixel_are_feature_ablation_of_pixels(cifar: Model, thumbnail: Tensor) -> None:
    (answer,) = explained(cifar, thumbnail, asked((1, 1), (1, 1)), [6])
    without = thumbnail.clone()
    without[:, 3, 30] = 0
    scores = cifar.logits(torch.stack([thumbnail, without])).double().softmax(1)[:, 6]
    assert answer.values[3, 30] == pytest.approx(float(scores[0] - scores[1]), abs=1e-6)
    assert answer.evaluations == 32 * 32 + 1


def test_early_estimates_cover_the_whole_image_with_means_of_the_windows_so_far(
    cifar: Model, thumbnail: Tensor
) -> None:
    reports = Reports()
    (answer,) = METHOD.attribute(cifar, thumbnail, [6], resolved(m.Occlusion()), 0, reports)
    distances = []
    for estimate in reports.estimates:
        assert estimate is not None and estimate[0].weights is not None
        covered = estimate[0].values != 0
        distances.append(np.abs(estimate[0].values - answer.values).mean())
        if len(distances) == 4:  # 64 of 226 evaluations
            assert covered.mean() > 0.5
            assert all(part.any() for half in np.split(covered, 2) for part in np.split(half, 2, 1))
    assert distances[-1] == 0
    assert distances == sorted(distances, reverse=True) or distances[-2] < distances[0] / 2


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        (m.Occlusion(window_height=33), "window_height"),
        (m.Occlusion(window_width=40), "window_width"),
        (m.Occlusion(window_height=4, stride_height=5), "stride_height"),
        (m.Occlusion(stride_width=5), "stride_width"),
    ],
)
def test_windows_that_do_not_fit_or_leave_gaps_are_refused(
    parameters: m.Occlusion, field: str, cifar: Model, thumbnail: Tensor
) -> None:
    with pytest.raises(MethodError) as caught:
        explained(cifar, thumbnail, parameters, [6])
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == field
