"""KernelSHAP equals shap, its values are Shapley's, and its errors tell the truth."""

import tracemalloc
from itertools import combinations
from math import factorial

import numpy as np
import pytest
import shap
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.kernel_shap import KernelShap
from expound_worker.methods.method import Answer, MethodError
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.perturbation.coalitions import plan_coalitions
from tests.numeric.models import Reports, ignore, make_model, plain_scores, resolved

SHAP = m.KernelShap.SAMPLING_SHAP


def grid(rows: int, columns: int) -> m.Segmentation:
    return m.Segmentation(grid=m.GridSegmentation(rows=rows, columns=columns))


def explained(
    model: Model, image: Tensor, parameters: m.KernelShap, targets: list[int], seed: int = 0
) -> list[Answer]:
    return KernelShap().attribute(model, image, targets, resolved(parameters), seed, ignore)


def shap_values(
    model: Model, image: Tensor, answer: Answer, targets: list[int], n_samples: int, seed: int
) -> NDArray[np.float64]:
    """(M, T) values of shap's KernelExplainer on a plain function, zero baseline."""
    assert answer.segments is not None
    scores = plain_scores(model, image, torch.zeros_like(image), answer.segments, targets)
    count = int(answer.segments.max()) + 1
    explainer = shap.KernelExplainer(scores, np.zeros((1, count)))
    state = np.random.get_state()
    np.random.seed(seed)
    values: NDArray[np.float64] = explainer.shap_values(
        np.ones(count), nsamples=n_samples, l1_reg=False, silent=True
    )
    np.random.set_state(state)
    return values


@pytest.mark.parametrize(
    ("segmentation", "n_samples"),
    [(None, 120), (grid(3, 3), 100), (grid(3, 3), 400), (grid(2, 4), 254), (grid(2, 2), 100)],
    ids=["slic", "9 segments", "9 segments, most", "8 segments, all", "4 segments, all"],
)
def test_values_equal_shaps_on_the_cifar_network(
    segmentation: m.Segmentation | None, n_samples: int, cifar: Model, thumbnail: Tensor
) -> None:
    parameters = m.KernelShap(sampling=SHAP, n_samples=n_samples, segmentation=segmentation)
    for seed in (0, 5):
        answers = explained(cifar, thumbnail, parameters, [6, 3], seed)
        expected = shap_values(cifar, thumbnail, answers[0], [6, 3], n_samples, seed)
        # What is left is float32 in the network: batches of one and of many round differently.
        values = np.stack([np.asarray(answer.weights) for answer in answers], axis=1)
        assert np.allclose(values, expected, atol=2e-6, rtol=0)


def test_values_equal_shaps_on_efficientnet(efficientnet: Model, photo: Tensor) -> None:
    target = int(efficientnet.logits(photo[None]).argmax())
    parameters = m.KernelShap(sampling=SHAP, n_samples=64, segmentation=grid(3, 3))
    answer = explained(efficientnet, photo, parameters, [target])[0]
    expected = shap_values(efficientnet, photo, answer, [target], 64, seed=0)[:, 0]
    assert abs(expected).max() > 0.01
    assert np.allclose(np.asarray(answer.weights), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_samples", [14, 100, 512])
def test_values_sum_to_the_score_minus_that_of_the_baseline(
    n_samples: int, cifar: Model, thumbnail: Tensor
) -> None:
    parameters = m.KernelShap(sampling=SHAP, n_samples=n_samples, segmentation=grid(2, 2))
    for answer in explained(cifar, thumbnail, parameters, [6, 3]):
        assert answer.weights is not None and answer.baseline_output is not None
        assert answer.weights.sum() == pytest.approx(answer.output - answer.baseline_output)
        assert answer.convergence_delta == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (1, 5), (2, 3), (2, 4)])
def test_all_coalitions_give_shapley_values_without_error(
    rows: int, columns: int, cifar: Model, thumbnail: Tensor
) -> None:
    count = rows * columns
    parameters = m.KernelShap(sampling=SHAP, n_samples=512, segmentation=grid(rows, columns))
    answer = explained(cifar, thumbnail, parameters, [6])[0]
    assert answer.segments is not None and answer.standard_errors is not None
    scores = plain_scores(cifar, thumbnail, torch.zeros(3, 32, 32), answer.segments, [6])
    assert answer.evaluations == 2**count
    assert np.allclose(np.asarray(answer.weights), shapley_values(scores, count), atol=1e-6, rtol=0)
    assert np.array_equal(answer.standard_errors, np.zeros(count))


def shapley_values(scores: object, count: int) -> NDArray[np.float64]:
    """Shapley's own formula, coalition by coalition."""
    assert callable(scores)
    masks = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    score = scores(masks)[:, 0]
    values = np.zeros(count)
    for player in range(count):
        others = [other for other in range(count) if other != player]
        for size in range(count):
            share = factorial(size) * factorial(count - size - 1) / factorial(count)
            for coalition in combinations(others, size):
                index = sum(1 << member for member in coalition)
                values[player] += share * (score[index | 1 << player] - score[index])
    return values


@pytest.mark.parametrize("n_samples", [120, 300])
def test_standard_errors_cover_the_true_values(
    n_samples: int, cifar: Model, thumbnail: Tensor
) -> None:
    everything = m.KernelShap(sampling=SHAP, n_samples=1022, segmentation=grid(2, 5))
    true = np.asarray(explained(cifar, thumbnail, everything, [6])[0].weights)
    parameters = m.KernelShap(sampling=SHAP, n_samples=n_samples, segmentation=grid(2, 5))
    answers = [explained(cifar, thumbnail, parameters, [6], seed)[0] for seed in range(25)]
    errors = np.array([np.asarray(answer.weights) - true for answer in answers])
    told = np.array([np.asarray(answer.standard_errors) for answer in answers])
    assert 0.88 < np.mean(abs(errors) < 2 * told) <= 1
    ratio = np.sqrt((told**2).mean() / (errors**2).mean())
    assert 0.8 < ratio < 1.4


def test_standard_errors_of_estimates_cover_the_true_values_too(
    cifar: Model, thumbnail: Tensor
) -> None:
    parameters = resolved(m.KernelShap(sampling=SHAP, n_samples=1022, segmentation=grid(2, 5)))
    ratios = []
    for seed in range(12):
        reports = Reports()
        final = KernelShap().attribute(cifar, thumbnail, [6], parameters, seed, reports)[0]
        middle = next(
            estimate[0]
            for done, estimate in zip(reports.done, reports.estimates, strict=True)
            if done > 250 and estimate is not None
        )
        assert middle.standard_errors is not None
        errors = np.asarray(middle.weights) - np.asarray(final.weights)
        ratios.append((errors**2).mean() / (middle.standard_errors**2).mean())
    assert 0.5 < np.mean(ratios) < 1.5


def test_standard_errors_shrink(cifar: Model, thumbnail: Tensor) -> None:
    reports = Reports()
    parameters = resolved(m.KernelShap(sampling=SHAP, n_samples=600, segmentation=grid(4, 4)))
    KernelShap().attribute(cifar, thumbnail, [6], parameters, 0, reports)
    errors = [error for error in reports.standard_errors if error is not None]
    assert errors[-1] < errors[0] / 2


def test_run_ends_early_when_the_values_are_sure_enough(cifar: Model, thumbnail: Tensor) -> None:
    parameters = m.KernelShap(
        sampling=SHAP, n_samples=4000, segmentation=grid(4, 4), max_standard_error=0.01
    )
    reports = Reports()
    answer = KernelShap().attribute(cifar, thumbnail, [6], resolved(parameters), 0, reports)[0]
    assert answer.evaluations == reports.done[-1] < 2000
    assert answer.standard_errors is not None and answer.standard_errors.max() <= 0.01
    assert answer.convergence_delta == pytest.approx(0, abs=1e-12)
    assert "max_standard_error=0.01" in answer.warnings[0]


def test_samples_that_leave_the_values_open_are_refused_before_any_evaluation(
    cifar: Model, thumbnail: Tensor
) -> None:
    reports = Reports()
    parameters = resolved(m.KernelShap(sampling=SHAP, n_samples=24, segmentation=grid(4, 4)))
    with pytest.raises(MethodError) as caught:
        KernelShap().attribute(cifar, thumbnail, [6], parameters, 0, reports)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "n_samples"
    assert "raise n_samples to 64 or more" in caught.value.message
    assert reports.done == []


def test_samples_fewer_than_the_values_are_refused_in_little_memory() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    preprocessing = Preprocessing((3, 64, 64), None, (0.5,) * 3, (0.5,) * 3)
    model = make_model(network, preprocessing, batch_size=4)
    parameters = m.KernelShap(sampling=SHAP, n_samples=10, segmentation=grid(64, 64))
    tracemalloc.start()
    try:
        with pytest.raises(MethodError, match="do not determine the values of 4096 segments"):
            explained(model, torch.zeros(3, 64, 64), parameters, [0])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8e6  # the matrix of the regression alone would take 134 MB


def test_plan_begins_with_single_segments_and_goes_on_in_random_order() -> None:
    plan = plan_coalitions(n_samples=300, segment_count=12, seed=0)
    assert plan.leading == 12
    sizes = plan.masks.sum(axis=1)
    assert set(sizes[:24]) == {1, 11}
    assert not set(sizes[24:]) & {1, 11}
    assert len({*sizes[24:48]}) > 3
    assert plan.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize(("n_samples", "segment_count"), [(300, 12), (61, 11), (254, 8), (90, 30)])
def test_units_of_a_plan_are_masks_with_their_complements(
    n_samples: int, segment_count: int
) -> None:
    plan = plan_coalitions(n_samples, segment_count, seed=3)
    ends = np.append(plan.starts[1:], len(plan.masks))
    for start, end in zip(plan.starts, ends, strict=True):
        assert end - start in (1, 2)
        if end - start == 2:
            assert np.array_equal(plan.masks[start], ~plan.masks[start + 1])
            assert plan.weights[start] == plan.weights[start + 1]
    assert plan.units_within(len(plan.masks)) == len(plan.starts)
    assert plan.units_within(0) == 0
    assert plan.rows_of(plan.units_within(5)) <= 5


@pytest.mark.parametrize(
    ("columns", "n_samples", "known"), [(4, 11, True), (5, 8, False), (5, 9, True)]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coalitions_that_are_as_many_as_the_values_have_no_standard_errors(
    columns: int, n_samples: int, known: bool, seed: int, cifar: Model, thumbnail: Tensor
) -> None:
    plan = plan_coalitions(n_samples, columns, seed)
    # One value follows from the others, and a unit tells one; then nothing is left to err.
    assert (len(plan.starts) > columns - 1) == known
    parameters = m.KernelShap(sampling=SHAP, n_samples=n_samples, segmentation=grid(1, columns))
    (answer,) = explained(cifar, thumbnail, parameters, [6], seed)
    assert (answer.standard_errors is not None) == known
