"""LIME equals lime, and its errors tell the truth."""

import numpy as np
import pytest
import torch
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.lime import Lime
from expound_worker.methods.method import Answer, MethodError
from expound_worker.models.model import Model
from tests.numeric.models import Reports, ignore, resolved, with_module

LIME = m.Lime.SAMPLING_LIME
GRID = m.Segmentation(grid=m.GridSegmentation(rows=4, columns=3))


def explained(
    model: Model, image: Tensor, parameters: m.Lime, targets: list[int], seed: int = 0
) -> list[Answer]:
    return Lime().attribute(model, image, targets, resolved(parameters), seed, ignore)


def lime_image(
    model: Model, image: Tensor, answer: Answer, parameters: m.Lime, target: int, seed: int
) -> tuple[NDArray[np.float64], float, float]:
    """Weights, intercept and score of `lime.lime_image` over the same segments."""

    def classify(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous()
        probabilities: NDArray[np.float64] = model.logits(inputs).double().softmax(1).numpy()
        return probabilities

    segments = answer.segments
    assert segments is not None
    explainer = LimeImageExplainer(kernel_width=parameters.kernel_width, random_state=seed)
    explanation = explainer.explain_instance(
        image.permute(1, 2, 0).numpy(),
        classify,
        labels=(target,),
        hide_color=None if parameters.baseline.HasField("segment_mean") else 0,
        top_labels=None,
        num_features=parameters.n_features or 100_000,
        num_samples=parameters.n_samples,
        segmentation_fn=lambda _: segments,
        random_seed=0,  # of the segmentation; without it one number is drawn before the masks
    )
    weights = np.zeros(segments.max() + 1)
    for feature, weight in explanation.local_exp[target]:
        weights[feature] = weight
    return weights, explanation.intercept[target], explanation.score


@pytest.mark.parametrize(
    "parameters",
    [
        m.Lime(sampling=LIME, n_samples=300),
        m.Lime(
            sampling=LIME,
            n_samples=150,
            segmentation=GRID,
            baseline=m.Baseline(segment_mean=m.SegmentMeanBaseline()),
        ),
        m.Lime(sampling=LIME, n_samples=120, segmentation=GRID, kernel_width=0.7, n_features=8),
        m.Lime(sampling=LIME, n_samples=120, segmentation=GRID, n_features=3),
    ],
    ids=["defaults", "segment means", "highest weights", "forward selection"],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_weights_equal_limes_on_the_cifar_network(
    parameters: m.Lime, seed: int, cifar: Model, thumbnail: Tensor
) -> None:
    parameters = resolved(parameters)
    answers = explained(cifar, thumbnail, parameters, [6, 3], seed)
    for answer, target in zip(answers, [6, 3], strict=True):
        expected = lime_image(cifar, thumbnail, answer, parameters, target, seed)
        assert np.allclose(np.asarray(answer.weights), expected[0], atol=1e-6, rtol=0)
        assert answer.intercept == pytest.approx(expected[1], abs=1e-6)
        assert answer.r_squared == pytest.approx(expected[2], abs=1e-5)


def test_weights_equal_limes_on_efficientnet(efficientnet: Model, photo: Tensor) -> None:
    parameters = resolved(m.Lime(sampling=LIME, n_samples=64))
    target = int(efficientnet.logits(photo[None]).argmax())
    answer = explained(efficientnet, photo, parameters, [target])[0]
    expected, _, _ = lime_image(efficientnet, photo, answer, parameters, target, seed=0)
    assert abs(expected).max() > 0.01
    assert np.allclose(np.asarray(answer.weights), expected, atol=1e-5, rtol=0)


def told_over_spread(model: Model, image: Tensor, n_samples: int) -> NDArray[np.float64]:
    """(M,) mean standard error of each weight, over the spread of the weights over seeds."""
    parameters = m.Lime(sampling=LIME, n_samples=n_samples, segmentation=GRID)
    answers = [explained(model, image, parameters, [6], seed)[0] for seed in range(60)]
    spread = np.std([np.asarray(answer.weights) for answer in answers], axis=0, ddof=1)
    told = np.mean([np.asarray(answer.standard_errors) for answer in answers], axis=0)
    return np.asarray(told / spread)


def test_standard_errors_are_the_spread_of_the_weights_over_seeds(
    cifar: Model, thumbnail: Tensor
) -> None:
    ratio = told_over_spread(cifar, thumbnail, 100)
    assert np.all(ratio > 0.7)
    assert np.all(ratio < 1.5)
    assert 0.85 < np.mean(ratio) < 1.25


def test_standard_errors_of_few_samples_are_not_too_small(cifar: Model, thumbnail: Tensor) -> None:
    """Fits of few samples follow them closely, and so shrink their own residuals."""
    assert np.mean(told_over_spread(cifar, thumbnail, 30)) > 1


def test_standard_errors_shrink_with_the_square_root_of_the_samples(
    cifar: Model, thumbnail: Tensor
) -> None:
    few, many = (
        explained(cifar, thumbnail, m.Lime(sampling=LIME, n_samples=count, segmentation=GRID), [6])[
            0
        ]
        for count in (200, 1800)
    )
    ratio = np.mean(np.asarray(few.standard_errors)) / np.mean(np.asarray(many.standard_errors))
    assert 2.4 < ratio < 3.8


def test_run_ends_early_when_the_weights_are_sure_enough(cifar: Model, thumbnail: Tensor) -> None:
    parameters = resolved(
        m.Lime(sampling=LIME, n_samples=2000, segmentation=GRID, max_standard_error=0.005)
    )
    reports = Reports()
    answer = Lime().attribute(cifar, thumbnail, [6, 3], parameters, 0, reports)[0]
    assert answer.evaluations == reports.done[-1] < 2001
    assert reports.totals == {2001}
    assert answer.standard_errors is not None
    assert answer.standard_errors.max() <= 0.005
    assert reports.standard_errors[-1] is not None and reports.standard_errors[-1] <= 0.005
    assert all(error is None or error > 0.005 for error in reports.standard_errors[:-1])
    assert answer.warnings == [
        f"stopped after {answer.evaluations} of 2001 evaluations: no standard error is above "
        "max_standard_error=0.005"
    ]


def test_segments_left_out_have_no_weight_and_no_error(cifar: Model, thumbnail: Tensor) -> None:
    parameters = m.Lime(sampling=LIME, n_samples=100, segmentation=GRID, n_features=5)
    answer = explained(cifar, thumbnail, parameters, [6])[0]
    assert answer.weights is not None and answer.standard_errors is not None
    assert np.count_nonzero(answer.weights) == 5
    assert np.array_equal(answer.weights == 0, answer.standard_errors == 0)


def test_too_few_samples_have_no_standard_errors_and_a_warning(
    cifar: Model, thumbnail: Tensor
) -> None:
    parameters = m.Lime(sampling=LIME, n_samples=23, segmentation=GRID)
    answer = explained(cifar, thumbnail, parameters, [6])[0]
    assert answer.standard_errors is None
    assert "raise n_samples to 24 or more" in answer.warnings[0]


class Parity(nn.Module):
    """Says one class where an even number of the 16 cells is kept, and the other elsewhere."""

    def forward(self, inputs: Tensor) -> Tensor:
        signs = 2 * functional.adaptive_avg_pool2d(inputs[:, :1], 4).flatten(1) - 1
        return torch.stack([signs.prod(dim=1), -signs.prod(dim=1)], dim=1)


def test_surrogate_that_explains_nothing_is_warned_of(cifar: Model) -> None:
    grid = m.Segmentation(grid=m.GridSegmentation(rows=4, columns=4))
    parameters = m.Lime(sampling=LIME, n_samples=500, segmentation=grid)
    parity = with_module(cifar, Parity())
    answer = explained(parity, torch.ones(3, 32, 32), parameters, [0])[0]
    assert answer.r_squared is not None and answer.r_squared < 0.1
    assert len(answer.warnings) == 1
    assert "weights say little about the model" in answer.warnings[0]


@pytest.mark.parametrize("width", [0.02, 1e-30, 1e-200])
def test_kernel_that_sees_the_image_alone_is_refused(
    width: float, cifar: Model, thumbnail: Tensor
) -> None:
    for columns in (2, 4):  # eight ones are not quite as long as eight ones, by rounding
        grid = m.Segmentation(grid=m.GridSegmentation(rows=4, columns=columns))
        parameters = m.Lime(sampling=LIME, n_samples=100, segmentation=grid, kernel_width=width)
        with pytest.raises(MethodError) as caught:
            explained(cifar, thumbnail, parameters, [6])
        assert caught.value.reason is Reason.INVALID_FIELD
        assert caught.value.metadata["field"] == "kernel_width"
