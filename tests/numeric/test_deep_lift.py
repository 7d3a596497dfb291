"""DeepLIFT is exact on modern classifiers, and equals Captum's where that is exact too."""

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import captum.attr
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from expound.reasons import Reason
from expound.tensors import to_tensor
from expound.v1 import method_pb2 as m
from expound_worker.methods.deep_lift import DeepLift
from expound_worker.methods.guided_backprop import GuidedBackprop
from expound_worker.methods.method import Answer, Batch, MethodError
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.propagation.deep_lift.propagate import propagate
from tests.numeric.cuts import Classifier
from tests.numeric.gradients import batch_of, pair
from tests.numeric.models import (
    ScaledGradient,
    apart,
    cifar_of_modules,
    make_model,
    resolved,
    with_module,
)

METHOD = DeepLift()

# What Captum says on every call.
pytestmark = pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")


def explained(model: Model, batch: Batch, parameters: m.DeepLift | None = None) -> list[Answer]:
    return METHOD.attribute(model, batch, resolved(parameters or m.DeepLift()), seed=0)


def captums(
    module: nn.Module, inputs: Tensor, targets: Tensor, baselines: Tensor | None = None
) -> NDArray[np.float64]:
    """In float64: in float32 its quotients of small differences lose their digits."""
    found, deltas = captum.attr.DeepLift(copy.deepcopy(module).double()).attribute(
        inputs.double().requires_grad_(), baselines, target=targets, return_convergence_delta=True
    )
    assert deltas.abs().max() < 1e-9  # Captum is exact here
    values: NDArray[np.float64] = found.detach().numpy()
    return values


def assert_same(answers: list[Answer], expected: NDArray[np.float64]) -> None:
    for answer, values in zip(answers, expected, strict=True):
        assert np.allclose(answer.values, values, rtol=1e-4, atol=1e-4 * np.abs(values).max())


def test_it_is_exact_on_the_dozen(classifier: Classifier) -> None:
    model, batch = classifier.model, classifier.batch
    for answer in explained(model, batch):
        assert answer.completeness_error is not None and answer.completeness_error <= 1e-3
        assert answer.warnings == []
    inputs = batch.inputs[:1].double()
    found = propagate(
        copy.deepcopy(model.module).double(), inputs, torch.zeros_like(inputs), batch.targets[:1]
    )
    difference = found.outputs - found.baseline_outputs
    assert abs(found.attributions.sum() - difference) <= 1e-9 * abs(difference)


def test_values_equal_captums_where_that_meets_a_module_for_every_function(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch = pair(cifar, thumbnail)
    modules = cifar_of_modules(cifar)
    assert_same(explained(cifar, batch), captums(modules, batch.inputs, batch.targets))


def test_values_equal_captums_for_a_baseline_that_is_not_empty(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch = pair(cifar, thumbnail)
    baseline = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    given = m.DeepLift(baseline=m.Baseline(tensor=to_tensor(baseline.numpy())))
    baselines = baseline.double().repeat(2, 1, 1, 1)
    expected = captums(cifar_of_modules(cifar), batch.inputs, batch.targets, baselines)
    assert_same(explained(cifar, batch, given), expected)


def test_values_equal_captums_on_a_vgg_to_the_last_digits_of_float64() -> None:
    torch.manual_seed(0)
    layers = make_layers([32, "M", 64, "M", 128, 128, "M"], batch_norm=True)
    head = nn.Sequential(nn.Flatten(), nn.Linear(2048, 10))
    inputs = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    baselines, targets = 0.3 * torch.randn_like(inputs), torch.tensor([7, 2])
    module = nn.Sequential(layers, head).double().requires_grad_(False)
    module(inputs)  # so that BatchNorm has statistics
    found = propagate(module.eval(), inputs, baselines, targets)
    parts = [apart(layer) if isinstance(layer, nn.MaxPool2d) else [layer] for layer in layers]
    twin = nn.Sequential(*chain.from_iterable(parts), head)
    expected = captums(twin, inputs, targets, baselines)
    assert np.allclose(found.attributions, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize(
    "activation", [nn.ELU(), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh(), nn.Softplus()]
)
def test_values_equal_captums_for_other_activations(activation: nn.Module) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), copy.deepcopy(activation), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 8, 3), copy.deepcopy(activation), nn.Flatten(), nn.Linear(200, 7)),
    )
    model = make_model(module, Preprocessing((3, 16, 16), None, (0.5,) * 3, (0.5,) * 3), 4)
    batch = pair(model, torch.randn(3, 16, 16))
    assert_same(explained(model, batch), captums(module, batch.inputs, batch.targets))


def test_answers_carry_their_proof(cifar: Model, thumbnail: Tensor) -> None:
    batch = pair(cifar, thumbnail)
    with torch.no_grad():
        baseline_scores = cifar.module(torch.zeros(1, 3, 32, 32))[0, batch.targets]
    before = batch.inputs.clone()
    for answer, score, reference in zip(
        explained(cifar, batch), batch.logits, baseline_scores.tolist(), strict=True
    ):
        assert answer.output == score
        assert answer.baseline_output == pytest.approx(reference, abs=1e-5)
        total = answer.values.astype(float).sum()
        assert answer.convergence_delta == pytest.approx(total - (score - reference), abs=1e-4)
        assert answer.completeness_error == pytest.approx(
            abs(answer.convergence_delta or 0) / abs(score - reference), abs=1e-6
        )
        assert answer.evaluations == 2
    assert batch.inputs.equal(before)


def scaled(factor: float) -> tuple[Model, Batch]:
    """A model whose DeepLIFT values are wrong by a factor."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), ScaledGradient(factor))
    model = make_model(module, Preprocessing((3, 4, 4), None, (0.5,) * 3, (0.5,) * 3), 4)
    return model, batch_of(model, torch.randn(3, 4, 4), targets=[2])


@pytest.mark.parametrize(("factor", "warned"), [(1.0005, False), (1.002, True), (0.96, True)])
def test_values_that_miss_the_difference_are_warned_of(factor: float, warned: bool) -> None:
    (answer,) = explained(*scaled(factor))
    assert answer.completeness_error == pytest.approx(abs(factor - 1), rel=1e-2)
    assert bool(answer.warnings) == warned
    if warned:
        assert f"{answer.completeness_error:.2%}" in answer.warnings[0]


@pytest.mark.parametrize("factor", [1.06, 0.0, -1.0, float("nan")])
def test_values_that_miss_the_difference_by_far_are_refused(factor: float) -> None:
    with pytest.raises(MethodError, match="use integrated_gradients") as caught:
        explained(*scaled(factor))
    assert caught.value.reason is Reason.NOT_COMPLETE
    figure = float(caught.value.metadata["completeness_error"])
    assert figure == pytest.approx(abs(factor - 1), rel=0.01, nan_ok=True)


def test_a_function_that_cannot_be_followed_is_refused_by_name(cifar: Model) -> None:
    class Sorted(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values.sort(dim=1).values

    model = with_module(cifar, nn.Sequential(cifar.module, Sorted()))
    with pytest.raises(MethodError, match="sort") as caught:
        explained(model, batch_of(model, torch.randn(3, 32, 32)))
    assert caught.value.reason is Reason.METHOD_UNSUPPORTED
    assert caught.value.metadata["function"] == "sort"


def test_methods_that_run_at_once_on_one_model_do_not_disturb_one_another(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch = pair(cifar, thumbnail)

    def deep_lift() -> list[Answer]:
        return explained(cifar, batch)

    def guided() -> list[Answer]:
        return GuidedBackprop().attribute(cifar, batch, m.GuidedBackprop(), seed=0)

    def plain() -> list[Answer]:
        leaf = batch.inputs.clone().requires_grad_()
        cifar.module(leaf).gather(1, batch.targets[:, None]).sum().backward()
        assert leaf.grad is not None
        return [
            replace(one, values=grad.numpy()) for one, grad in zip(alone[0], leaf.grad, strict=True)
        ]

    alone = [deep_lift()]
    alone = [alone[0], guided(), plain()]
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(run) for _ in range(20) for run in (deep_lift, guided, plain)]
        found = [run.result() for run in runs]
    for index, answers in enumerate(found):
        for one, expected in zip(answers, alone[index % 3], strict=True):
            assert np.array_equal(one.values, expected.values)
