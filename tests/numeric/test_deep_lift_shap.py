"""DeepLiftShap equals Captum's for several baselines, and is checked as DeepLIFT is."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor

from expound.reasons import Reason
from expound.tensors import to_tensor
from expound.v1 import method_pb2 as m
from expound_worker.methods.deep_lift import DeepLift
from expound_worker.methods.deep_lift_shap import DeepLiftShap
from expound_worker.methods.method import Answer, Batch, MethodError
from expound_worker.models.model import Model
from tests.numeric.gradients import batch_of, pair
from tests.numeric.models import cifar_of_modules, resolved

METHOD = DeepLiftShap()


def explained(model: Model, batch: Batch, *baselines: m.Baseline, seed: int = 0) -> list[Answer]:
    parameters = resolved(m.DeepLiftShap(baselines=baselines))
    return METHOD.attribute(model, batch, parameters, seed)


def drawn(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(7))


def given(tensors: Tensor) -> list[m.Baseline]:
    return [m.Baseline(tensor=to_tensor(tensor.numpy())) for tensor in tensors]


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")
def test_values_equal_captums_over_more_baselines_than_one_batch_takes(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch, references = pair(cifar, thumbnail), drawn(7)
    answers = explained(cifar, batch, *given(references))
    expected = captum.attr.DeepLiftShap(cifar_of_modules(cifar)).attribute(
        batch.inputs.clone(), references, target=batch.targets
    )
    with torch.no_grad():
        reference_scores = cifar.module(references)[:, batch.targets].mean(0)
    assert 2 * len(references) > cifar.batch_size // 2
    for answer, values, score in zip(
        answers, expected.detach().numpy(), reference_scores.tolist(), strict=True
    ):
        assert np.allclose(answer.values, values, rtol=1e-3, atol=1e-5 * np.abs(values).max())
        assert answer.baseline_output == pytest.approx(score, abs=1e-5)
        assert answer.completeness_error is not None and answer.completeness_error < 1e-4
        assert answer.evaluations == 14


def test_one_baseline_or_none_gives_the_values_of_deep_lift(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch = pair(cifar, thumbnail)
    expected = DeepLift().attribute(cifar, batch, resolved(m.DeepLift()), seed=0)
    zero = m.Baseline(zero=m.ZeroBaseline())
    for answers in (explained(cifar, batch), explained(cifar, batch, zero)):
        for answer, other in zip(answers, expected, strict=True):
            assert np.array_equal(answer.values, other.values)


def test_noise_baselines_are_as_many_draws_of_the_seed(cifar: Model, thumbnail: Tensor) -> None:
    batch = batch_of(cifar, thumbnail)
    noise = m.Baseline(noise=m.NoiseBaseline(stdev=0.5))
    (once,) = explained(cifar, batch, noise)
    (twice,) = explained(cifar, batch, noise, noise)
    (again,) = explained(cifar, batch, noise, noise)
    (second,) = explained(cifar, batch, noise, seed=1)
    assert not np.array_equal(once.values, twice.values)
    assert np.array_equal(twice.values, again.values)
    assert np.allclose(twice.values, (once.values + second.values) / 2, atol=1e-6)


def test_a_baseline_that_does_not_fit_is_refused_by_its_number(
    cifar: Model, thumbnail: Tensor
) -> None:
    small = m.Baseline(tensor=to_tensor(np.zeros((3, 4, 4), np.float32)))
    with pytest.raises(MethodError) as caught:
        explained(cifar, batch_of(cifar, thumbnail), m.Baseline(zero=m.ZeroBaseline()), small)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"].startswith("baselines[1]")
