"""What holds of every perturbation method: reports, seeds, targets, and leaving no trace."""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from google.protobuf.message import Message
from torch import Tensor, nn

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.feature_ablation import FeatureAblation
from expound_worker.methods.kernel_shap import KernelShap
from expound_worker.methods.lime import Lime
from expound_worker.methods.method import Answer, MethodError, PerturbationMethod
from expound_worker.methods.occlusion import Occlusion
from expound_worker.methods.partition_shap import PartitionShap
from expound_worker.methods.permutation_shap import PermutationShap
from expound_worker.methods.rise import Rise
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.perturbation.engine import MAX_MASK_CELLS, check_plan_size
from tests.numeric.models import Reports, ignore, make_model, resolved

TARGETS = [6, 3]
GRID = m.Segmentation(grid=m.GridSegmentation(rows=3, columns=4))
METHODS: dict[str, tuple[PerturbationMethod, Message]] = {
    "occlusion": (Occlusion(), m.Occlusion()),
    "feature_ablation": (FeatureAblation(), m.FeatureAblation()),
    "lime": (Lime(), m.Lime(n_samples=100)),
    "kernel_shap": (KernelShap(), m.KernelShap(n_samples=100)),
    "partition_shap": (PartitionShap(), m.PartitionShap(n_samples=101)),
    "permutation_shap": (PermutationShap(), m.PermutationShap(n_samples=100, segmentation=GRID)),
    "rise": (Rise(), m.Rise(n_samples=100)),
}
every_method = pytest.mark.parametrize("name", METHODS)
methods_with_weights = pytest.mark.parametrize("name", [name for name in METHODS if name != "rise"])
sampling_methods = pytest.mark.parametrize(
    "name", ["lime", "kernel_shap", "permutation_shap", "rise"]
)
additive_methods = pytest.mark.parametrize(
    "name", ["kernel_shap", "partition_shap", "permutation_shap"]
)


def explained(
    name: str,
    model: Model,
    image: Tensor,
    report: Callable[..., None] = ignore,
    seed: int = 0,
    targets: Sequence[int] = TARGETS,
) -> list[Answer]:
    method, parameters = METHODS[name]
    return method.attribute(model, image, targets, resolved(parameters), seed, report)


@methods_with_weights
def test_answers_are_whole(name: str, cifar: Model, thumbnail: Tensor) -> None:
    probabilities = cifar.logits(thumbnail[None]).softmax(dim=1)[0]
    answers = explained(name, cifar, thumbnail)
    assert METHODS[name][0].name == name
    assert METHODS[name][0].refusal(cifar) is None
    assert len(answers) == len(TARGETS)
    for answer, target in zip(answers, TARGETS, strict=True):
        assert answer.segments is not None
        assert answer.weights is not None
        assert answer.values.dtype == np.float32
        assert np.array_equal(answer.values, answer.weights[answer.segments].astype(np.float32))
        assert answer.output == pytest.approx(float(probabilities[target]), abs=1e-6)
        assert answer.warnings == []


@every_method
def test_the_size_of_batches_changes_nothing(name: str, cifar: Model, thumbnail: Tensor) -> None:
    one_by_one = dataclasses.replace(cifar, batch=BatchSize(1))
    for alone, together in zip(
        explained(name, one_by_one, thumbnail), explained(name, cifar, thumbnail), strict=True
    ):
        np.testing.assert_allclose(alone.values, together.values, atol=1e-6)


@additive_methods
def test_values_add_up_and_the_answer_says_so(name: str, cifar: Model, thumbnail: Tensor) -> None:
    for answer in explained(name, cifar, thumbnail):
        assert answer.weights is not None and answer.baseline_output is not None
        assert answer.weights.sum() == pytest.approx(answer.output - answer.baseline_output)
        assert answer.convergence_delta == pytest.approx(0, abs=1e-12)
        assert answer.completeness_error == pytest.approx(0, abs=1e-9)


@every_method
def test_reports_grow_to_the_total_and_carry_estimates(
    name: str, cifar: Model, thumbnail: Tensor
) -> None:
    reports = Reports()
    answers = explained(name, cifar, thumbnail, reports)
    assert reports.done == sorted(set(reports.done))
    assert reports.totals == {reports.done[-1]} == {answers[0].evaluations}
    estimates = [estimate for estimate in reports.estimates if estimate is not None]
    assert len(estimates) >= 2
    for estimate in estimates:
        assert len(estimate) == len(TARGETS)
        assert all(part.weights is not None and part.segments is not None for part in estimate)


@methods_with_weights
def test_estimates_come_nearer_to_the_answer(name: str, cifar: Model, thumbnail: Tensor) -> None:
    reports = Reports()
    final = explained(name, cifar, thumbnail, reports)[0].weights
    assert final is not None
    estimates = [estimate[0].weights for estimate in reports.estimates if estimate is not None]
    distances = [
        float(np.linalg.norm(final - weights)) for weights in estimates if weights is not None
    ]
    assert distances[-1] < distances[0]
    assert distances[0] < 3 * np.linalg.norm(final)


@every_method
def test_asking_for_estimates_changes_no_answer(name: str, cifar: Model, thumbnail: Tensor) -> None:
    watched = explained(name, cifar, thumbnail, Reports())
    unwatched = explained(name, cifar, thumbnail)
    assert all(map(same_values, watched, unwatched))


def same_values(first: Answer, second: Answer) -> bool:
    return np.array_equal(first.values, second.values)


@every_method
def test_targets_share_evaluations_and_are_explained_as_if_alone(
    name: str, cifar: Model, thumbnail: Tensor
) -> None:
    both = explained(name, cifar, thumbnail)
    assert both[0].evaluations == both[1].evaluations
    if name != "partition_shap":  # there, what is looked at depends on all targets
        for answer, target in zip(both, TARGETS, strict=True):
            alone = explained(name, cifar, thumbnail, targets=[target])[0]
            assert np.allclose(answer.values, alone.values, rtol=1e-6, atol=1e-7)
            assert alone.evaluations == answer.evaluations


@sampling_methods
def test_another_seed_draws_other_masks(name: str, cifar: Model, thumbnail: Tensor) -> None:
    first, second = (explained(name, cifar, thumbnail, seed=seed)[0] for seed in (0, 1))
    assert not same_values(first, second)


class Stop(Exception):
    """What a caller may end a method with."""


class StopAt:
    """Ends the method at its second report; until then the global generators are the caller's."""

    def __init__(self) -> None:
        self.reports = 0
        self.numpy_state = np.random.get_state()[1].tolist()  # type: ignore[index]

    def __call__(
        self,
        done: int,
        total: int,
        standard_error: float | None = None,
        estimate: Callable[[], Sequence[Answer]] | None = None,
    ) -> None:
        self.reports += 1
        assert np.random.get_state()[1].tolist() == self.numpy_state  # type: ignore[index]
        if self.reports == 2:
            raise Stop


@every_method
@pytest.mark.parametrize("stopped", [False, True])
def test_nothing_global_is_changed(
    name: str, stopped: bool, cifar: Model, thumbnail: Tensor
) -> None:
    numpy_state = np.random.get_state()
    torch_state = torch.get_rng_state()
    weights = {key: value.clone() for key, value in cifar.module.state_dict().items()}
    image = thumbnail.clone()
    if stopped:
        with pytest.raises(Stop):
            explained(name, cifar, image, StopAt())
    else:
        explained(name, cifar, image)
    for before, after in zip(numpy_state, np.random.get_state(), strict=True):
        assert np.array_equal(before, after)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert not cifar.module.training
    assert all(parameter.grad is None for parameter in cifar.module.parameters())
    assert not any(module._forward_hooks for module in cifar.module.modules())
    assert all(torch.equal(value, weights[key]) for key, value in cifar.module.state_dict().items())
    assert torch.equal(image, thumbnail)


@every_method
def test_nothing_is_printed(
    name: str, cifar: Model, thumbnail: Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    def slow(*_: object, **__: object) -> None:
        """Lets more than the five seconds pass after which shap shows a progress bar."""
        clock[0] += 6

    clock = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: clock[0])
        explained(name, cifar, thumbnail, slow)
    assert capfd.readouterr() == ("", "")


@methods_with_weights
def test_image_that_equals_its_baseline_has_a_map_of_zeros(name: str, cifar: Model) -> None:
    answers = explained(name, cifar, torch.zeros(3, 32, 32))
    for answer in answers:
        # Equal images differ by some 1e-8 with their place in a batch and its size.
        assert np.allclose(answer.values, 0, atol=1e-6)
        assert answer.baseline_output in (None, pytest.approx(answer.output))


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (Lime(), m.Lime()),
        (Lime(), m.Lime(sampling=m.Lime.SAMPLING_LIME)),
        (KernelShap(), m.KernelShap()),
        (KernelShap(), m.KernelShap(sampling=m.KernelShap.SAMPLING_SHAP)),
    ],
    ids=["lime", "lime as lime", "kernel_shap", "kernel_shap as shap"],
)
def test_a_segment_a_pixel_is_refused_before_any_evaluation(
    method: PerturbationMethod, parameters: m.Lime | m.KernelShap
) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    preprocessing = Preprocessing((3, 80, 80), None, (0.5,) * 3, (0.5,) * 3)
    model = make_model(network, preprocessing, batch_size=4)
    parameters.n_samples = 10
    parameters.segmentation.grid.rows = parameters.segmentation.grid.columns = 80
    reports = Reports()
    with pytest.raises(MethodError) as caught:
        method.attribute(model, torch.zeros(3, 80, 80), [0], resolved(parameters), 0, reports)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "segmentation"
    assert reports.done == []


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (Lime(), m.Lime()),
        (Lime(), m.Lime(sampling=m.Lime.SAMPLING_LIME)),
        (KernelShap(), m.KernelShap()),
        (KernelShap(), m.KernelShap(sampling=m.KernelShap.SAMPLING_SHAP)),
        (PartitionShap(), m.PartitionShap()),
        (PermutationShap(), m.PermutationShap()),
    ],
    ids=["lime", "lime as lime", "kernel_shap", "as shap", "partition_shap", "permutation_shap"],
)
def test_a_plan_that_memory_could_not_hold_is_refused_before_any_evaluation(
    method: PerturbationMethod,
    parameters: m.Lime | m.KernelShap | m.PartitionShap | m.PermutationShap,
    cifar: Model,
    thumbnail: Tensor,
) -> None:
    parameters.segmentation.grid.rows = parameters.segmentation.grid.columns = 16
    parameters.n_samples = MAX_MASK_CELLS // 256 + 1
    reports = Reports()
    with pytest.raises(MethodError) as caught:
        method.attribute(cifar, thumbnail, TARGETS, resolved(parameters), 0, reports)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "n_samples"
    assert reports.done == []


def test_a_plan_may_be_as_large_as_the_limit() -> None:
    check_plan_size(MAX_MASK_CELLS // 4, 4)
    with pytest.raises(MethodError, match="at most"):
        check_plan_size(MAX_MASK_CELLS // 4 + 1, 4)
