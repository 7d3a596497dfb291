"""GradientSHAP equals a literal reference, agrees with Captum's, and knows how sure it is."""

import dataclasses

import captum.attr
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expound.reasons import Reason
from expound.v1 import explanation_pb2, tensor_pb2
from expound.v1 import method_pb2 as m
from expound_worker.attributions import to_attribution
from expound_worker.methods.gradient_shap import GradientShap
from expound_worker.methods.method import Answer, Batch, MethodError
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baselines
from tests.numeric.gradients import batch_of, pair
from tests.numeric.models import resolved, with_module

METHOD = GradientShap()
BASELINES = [
    m.Baseline(zero=m.ZeroBaseline()),
    m.Baseline(color=m.ColorBaseline(red=1)),
    m.Baseline(noise=m.NoiseBaseline(stdev=0.5)),
    m.Baseline(noise=m.NoiseBaseline(stdev=0.5)),
]


def explained(
    model: Model, batch: Batch, parameters: m.GradientShap, seed: int = 0
) -> list[Answer]:
    return METHOD.attribute(model, batch, resolved(parameters), seed)


def literal(
    model: Model, image: Tensor, target: int, parameters: m.GradientShap, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean of the samples, and what each of them misses: one point at a time."""
    baselines = make_baselines(parameters.baselines, model.preprocessing, image, seed)
    random = np.random.default_rng(seed)
    places = random.random(parameters.n_samples)
    choices = random.integers(len(baselines), size=parameters.n_samples)
    values, deltas = [], []
    for place, choice in zip(places, choices, strict=True):
        noise = random.standard_normal(image.shape, dtype=np.float32)
        noisy = image + parameters.stdev * torch.from_numpy(noise)
        point = baselines[choice] + float(place) * (noisy - baselines[choice])
        point.requires_grad_()
        model.module(point[None])[0, target].backward()
        assert point.grad is not None
        value = ((noisy - baselines[choice]) * point.grad).double().numpy()
        ends = model.logits(torch.stack([noisy, baselines[choice]]))[:, target].double()
        values.append(value)
        deltas.append(value.sum() - float(ends[0] - ends[1]))
    return np.mean(values, axis=0), np.array(deltas)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("baselines", [[], BASELINES], ids=["zero", "several"])
def test_values_and_errors_equal_those_of_one_point_at_a_time(
    baselines: list[m.Baseline], batch_size: int, cifar: Model, thumbnail: Tensor
) -> None:
    model = dataclasses.replace(cifar, batch=BatchSize(batch_size))
    batch = pair(cifar, thumbnail)
    parameters = resolved(m.GradientShap(n_samples=20, stdev=0.3, baselines=baselines))
    answers = explained(model, batch, parameters, seed=5)
    for answer, image, target in zip(answers, batch.inputs, batch.targets, strict=True):
        values, deltas = literal(cifar, image, int(target), parameters, seed=5)
        scale = np.abs(values).max()
        assert np.allclose(answer.values, values, rtol=1e-4, atol=1e-5 * scale)
        assert answer.convergence_delta == pytest.approx(deltas.mean(), abs=1e-4)
        assert answer.standard_error == pytest.approx(deltas.std(ddof=1) / np.sqrt(20), rel=1e-3)
        assert answer.evaluations == 20 + 20 + max(len(baselines), 1)
        assert answer.baseline_output is not None
        difference = answer.output - answer.baseline_output
        assert answer.values.astype(float).sum() - difference == pytest.approx(
            answer.convergence_delta, abs=1e-3
        )


def test_values_agree_with_captums_within_chance(cifar: Model, thumbnail: Tensor) -> None:
    """Of 20 means of 100 samples each: the sums over quarters of the image, and of everything."""
    batch = batch_of(cifar, thumbnail)
    parameters = m.GradientShap(n_samples=100, stdev=0.2, baselines=BASELINES[:2])
    ours = [explained(cifar, batch, parameters, seed)[0].values for seed in range(20)]
    baselines = make_baselines(parameters.baselines, cifar.preprocessing, thumbnail, 0)
    theirs = []
    numpy_state = np.random.get_state()
    with torch.random.fork_rng():
        for seed in range(20):
            torch.manual_seed(seed)
            np.random.seed(seed)
            gradient_shap = captum.attr.GradientShap(cifar.module)
            values = gradient_shap.attribute(
                batch.inputs, baselines, n_samples=100, stdevs=0.2, target=6
            )
            theirs.append(values[0].detach().numpy())
    np.random.set_state(numpy_state)

    def quarters(maps: list[NDArray[np.float32]]) -> NDArray[np.float64]:
        cells = np.array(maps).sum(axis=1, dtype=float).reshape(20, 2, 16, 2, 16)
        sums: NDArray[np.float64] = cells.sum(axis=(2, 4)).reshape(20, 4)
        return sums

    first, second = quarters(ours), quarters(theirs)
    error = np.sqrt((first.var(axis=0, ddof=1) + second.var(axis=0, ddof=1)) / 20)
    assert (np.abs(first.mean(axis=0) - second.mean(axis=0)) < 4 * error).all()
    assert (error < 0.2 * np.abs(first).mean()).all()  # which would see a wrong factor


def test_sums_are_off_by_as_much_as_their_standard_error_says(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch = batch_of(cifar, thumbnail)
    parameters = m.GradientShap(n_samples=40, stdev=0.2, baselines=BASELINES)
    answers = [explained(cifar, batch, parameters, seed)[0] for seed in range(40)]
    scores = []
    for answer in answers:
        assert answer.convergence_delta is not None and answer.standard_error is not None
        assert answer.warnings == []
        scores.append(answer.convergence_delta / answer.standard_error)
    assert 0.7 < np.sqrt(np.mean(np.square(scores))) < 1.4
    assert np.abs(scores).max() < 5


def test_standard_error_of_the_sum_reaches_the_caller(cifar: Model, thumbnail: Tensor) -> None:
    (answer,) = explained(cifar, batch_of(cifar, thumbnail), m.GradientShap(n_samples=10))
    attribution = to_attribution(
        answer, 0, explanation_pb2.ClassScore(), explanation_pb2.OutputOptions()
    )
    assert attribution.standard_error == answer.standard_error
    assert attribution.completeness_error == answer.completeness_error
    assert not attribution.HasField("standard_errors")


def test_without_noise_the_output_is_the_score_of_the_input(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch = batch_of(cifar, thumbnail)
    (answer,) = explained(cifar, batch, m.GradientShap(n_samples=10, stdev=0))
    assert answer.output == pytest.approx(batch.logits[0], rel=1e-9)
    assert answer.baseline_output == pytest.approx(
        float(cifar.logits(torch.zeros(1, 3, 32, 32))[0, 6]), rel=1e-5
    )
    assert answer.evaluations == 11


def test_an_input_is_explained_as_if_alone(cifar: Model, thumbnail: Tensor) -> None:
    batch = pair(cifar, thumbnail)
    together = explained(cifar, batch, m.GradientShap(n_samples=10))
    for index, answer in enumerate(together):
        (alone,) = explained(cifar, batch.one(index), m.GradientShap(n_samples=10))
        assert np.allclose(answer.values, alone.values, rtol=1e-5, atol=1e-7)


def test_global_generators_neither_matter_nor_move(cifar: Model, thumbnail: Tensor) -> None:
    batch = batch_of(cifar, thumbnail)
    (first,) = explained(cifar, batch, m.GradientShap(n_samples=6), seed=1)
    torch.rand(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    (second,) = explained(cifar, batch, m.GradientShap(n_samples=6), seed=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    assert np.array_equal(first.values, second.values)
    (other,) = explained(cifar, batch, m.GradientShap(n_samples=6), seed=2)
    assert not np.array_equal(first.values, other.values)


class HalfHidden(nn.Module):
    """A score of which the gradient sees only a half."""

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.flatten(1)
        seen, hidden = rows.tanh().sum(1), rows.detach().tanh().sum(1)
        return torch.stack([seen + hidden, seen], dim=1)


def test_model_whose_gradient_does_not_describe_it_is_warned_of(
    cifar: Model, thumbnail: Tensor
) -> None:
    model = with_module(cifar, HalfHidden())
    batch = batch_of(model, thumbnail, thumbnail, targets=[0, 1])
    hidden, seen = explained(model, batch, m.GradientShap(n_samples=50))
    assert seen.warnings == []
    (warning,) = hidden.warnings
    assert "kernel_shap" in warning


def test_baseline_that_does_not_fit_is_named_by_its_place_in_the_list(
    cifar: Model, thumbnail: Tensor
) -> None:
    wrong = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=[1], data=b"\0" * 4)
    baselines = [BASELINES[0], m.Baseline(tensor=wrong)]
    with pytest.raises(MethodError) as caught:
        explained(cifar, batch_of(cifar, thumbnail), m.GradientShap(baselines=baselines))
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "baselines[1].tensor"


def test_several_noises_are_not_the_same(cifar: Model, thumbnail: Tensor) -> None:
    baselines = make_baselines(BASELINES[2:], cifar.preprocessing, thumbnail, seed=0)
    assert not torch.equal(baselines[0], baselines[1])
