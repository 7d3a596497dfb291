"""The noise tunnel equals Captum's over any method, and the methods know nothing of it."""

import dataclasses

import captum.attr
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.input_x_gradient import InputXGradient
from expound_worker.methods.integrated_gradients import IntegratedGradients
from expound_worker.methods.method import LOGIT, Answer, Batch, MethodError
from expound_worker.methods.noise_tunnel import NoiseTunnel
from expound_worker.methods.saliency import Saliency
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.model import Model
from tests.numeric.gradients import batch_of, pair
from tests.numeric.models import resolved

TYPES = {
    "smoothgrad": m.NoiseTunnel.TYPE_SMOOTHGRAD,
    "smoothgrad_sq": m.NoiseTunnel.TYPE_SMOOTHGRAD_SQ,
    "vargrad": m.NoiseTunnel.TYPE_VARGRAD,
}
STATISTICS = {
    "smoothgrad": lambda maps: maps.mean(axis=0),
    "smoothgrad_sq": lambda maps: (maps**2).mean(axis=0),
    "vargrad": lambda maps: maps.var(axis=0),
}
every_type = pytest.mark.parametrize("name", TYPES)


def tunnel(name: str = "smoothgrad", n_samples: int = 10, stdev: float = 0.3) -> m.NoiseTunnel:
    return m.NoiseTunnel(type=TYPES[name], n_samples=n_samples, stdev=stdev)


def draws(seed: int, n_samples: int, stdev: float) -> list[Tensor]:
    """The documented draw."""
    generator = torch.Generator().manual_seed(seed)
    return [stdev * torch.randn(3, 32, 32, generator=generator) for _ in range(n_samples)]


def close(ours: NDArray[np.float32], expected: NDArray[np.generic]) -> bool:
    return np.allclose(ours, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@every_type
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_saliency_equals_captums_whatever_the_batch_size(
    batch_size: int, name: str, cifar: Model, thumbnail: Tensor
) -> None:
    model = dataclasses.replace(cifar, batch=BatchSize(batch_size))
    parameters = resolved(m.Saliency(absolute=False, noise_tunnel=tunnel(name)))
    (answer,) = NoiseTunnel(Saliency()).attribute(model, batch_of(cifar, thumbnail), parameters, 5)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = captum.attr.NoiseTunnel(captum.attr.Saliency(cifar.module)).attribute(
            thumbnail[None], nt_type=name, nt_samples=10, stdevs=0.3, target=6, abs=False
        )
    assert close(answer.values, expected[0].detach().numpy())
    assert answer.values.dtype == np.float32
    assert answer.evaluations == 10


@every_type
def test_integrated_gradients_equal_a_literal_loop_over_captums(
    name: str, cifar: Model, thumbnail: Tensor
) -> None:
    parameters = resolved(m.IntegratedGradients(n_steps=4, noise_tunnel=tunnel(name, 5)))
    (answer,) = NoiseTunnel(IntegratedGradients()).attribute(
        cifar, batch_of(cifar, thumbnail), parameters, 2
    )
    method = captum.attr.IntegratedGradients(cifar.module)
    maps = [
        method.attribute((thumbnail + noise)[None], target=6, n_steps=4)[0].double().numpy()
        for noise in draws(2, 5, 0.3)
    ]
    assert close(answer.values, STATISTICS[name](np.array(maps)))
    assert answer.evaluations == 5 * (4 + 1)
    assert answer.n_steps == 4


def test_combined_map_promises_no_completeness(cifar: Model, thumbnail: Tensor) -> None:
    batch = batch_of(cifar, thumbnail)
    parameters = resolved(m.IntegratedGradients(n_steps=4, noise_tunnel=tunnel(n_samples=3)))
    (answer,) = NoiseTunnel(IntegratedGradients()).attribute(cifar, batch, parameters, 0)
    assert answer.convergence_delta is None
    assert answer.completeness_error is None
    assert answer.baseline_output is None
    assert answer.output == batch.logits[0]  # of the input itself, not of a copy


def test_every_input_has_the_same_noise_and_is_explained_as_if_alone(
    cifar: Model, thumbnail: Tensor
) -> None:
    parameters = resolved(m.InputXGradient(noise_tunnel=tunnel(n_samples=7)))
    batch = pair(cifar, thumbnail)
    method = NoiseTunnel(InputXGradient())
    together = method.attribute(cifar, batch, parameters, 3)
    for index, answer in enumerate(together):
        (alone,) = method.attribute(cifar, batch.one(index), parameters, 3)
        assert close(answer.values, alone.values)
    twins = batch_of(cifar, thumbnail, thumbnail, targets=[6, 6])
    first, second = method.attribute(cifar, twins, parameters, 3)
    assert close(first.values, second.values)


def test_global_generator_neither_matters_nor_moves(cifar: Model, thumbnail: Tensor) -> None:
    parameters = resolved(m.Saliency(noise_tunnel=tunnel()))
    batch = batch_of(cifar, thumbnail)
    method = NoiseTunnel(Saliency())
    (first,) = method.attribute(cifar, batch, parameters, 1)
    torch.rand(1)
    before = torch.get_rng_state()
    (second,) = method.attribute(cifar, batch, parameters, 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(first.values, second.values)
    (other,) = method.attribute(cifar, batch, parameters, 2)
    assert not np.array_equal(first.values, other.values)


class Spy:
    """A method of one number a map, that keeps what it is given."""

    name = "spy"

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.seeds: set[int] = set()

    def refusal(self, model: Model) -> str | None:
        return "it is a spy"

    def attribute(self, model: Model, batch: Batch, parameters: object, seed: int) -> list[Answer]:
        self.batches.append(batch)
        self.seeds.add(seed)
        return [
            Answer(
                np.full((2, 2), logit, dtype=np.float32),
                LOGIT,
                output=logit,
                evaluations=3,
                layer="conv2",
                layer_reason="because",
                convergence_delta=1.0,
                standard_error=1.0,
                warnings=[f"off by {abs(logit):.3g}, 1e-{abs(logit):.0f}%", "blurred"],
            )
            for logit in batch.logits
        ]


def test_method_is_given_copies_in_full_batches_with_their_own_scores(
    cifar: Model, thumbnail: Tensor
) -> None:
    spy, batch = Spy(), pair(cifar, thumbnail)
    model = dataclasses.replace(cifar, batch=BatchSize(5))
    parameters = resolved(m.Saliency(noise_tunnel=tunnel(n_samples=5)))
    answers = NoiseTunnel(spy).attribute(model, batch, parameters, 9)
    assert [len(copies.logits) for copies in spy.batches] == [4, 4, 2]
    assert spy.seeds == {9}
    copies = torch.cat([copies.inputs for copies in spy.batches])
    assert torch.cat([copies.targets for copies in spy.batches]).tolist() == [6, 3] * 5
    noisy = [image + noise for noise in draws(9, 5, 0.3) for image in batch.inputs]
    assert torch.allclose(copies, torch.stack(noisy))
    scores = [score for copies in spy.batches for score in copies.logits]
    targets = torch.tensor([[6], [3]] * 5)
    assert np.allclose(scores, cifar.logits(copies).gather(1, targets)[:, 0], atol=1e-4)
    for index, answer in enumerate(answers):
        assert answer.values == pytest.approx(np.mean(scores[index::2]), rel=1e-5)


def test_answer_keeps_the_layer_and_has_each_kind_of_warning_once(
    cifar: Model, thumbnail: Tensor
) -> None:
    parameters = resolved(m.GradCam(noise_tunnel=tunnel(n_samples=4)))
    answers = NoiseTunnel(Spy()).attribute(cifar, pair(cifar, thumbnail), parameters, 0)
    for answer in answers:
        assert (answer.layer, answer.layer_reason) == ("conv2", "because")
        assert answer.evaluations == 4 * 3
        assert answer.standard_error is None
        figures, plain = answer.warnings
        assert figures.startswith("a noisy copy: off by ")
        assert plain == "a noisy copy: blurred"


@pytest.mark.parametrize("parameters", [m.Saliency(), m.ScoreCam()], ids=["not set", "no field"])
def test_without_a_tunnel_the_method_runs_as_it_is(
    parameters: m.Saliency | m.ScoreCam, cifar: Model, thumbnail: Tensor
) -> None:
    spy, batch = Spy(), pair(cifar, thumbnail)
    method = NoiseTunnel(spy)
    answers = method.attribute(cifar, batch, resolved(parameters), 4)
    assert spy.batches == [batch]
    assert [answer.convergence_delta for answer in answers] == [1.0, 1.0]
    assert (method.name, method.refusal(cifar)) == ("spy", "it is a spy")


def test_precision_cannot_be_asked_of_maps_under_noise(cifar: Model, thumbnail: Tensor) -> None:
    parameters = resolved(m.IntegratedGradients(max_delta=0.01, noise_tunnel=tunnel()))
    with pytest.raises(MethodError) as caught:
        NoiseTunnel(IntegratedGradients()).attribute(
            cifar, batch_of(cifar, thumbnail), parameters, 0
        )
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "max_delta"


def test_every_gradient_method_of_the_catalogue_goes_through_it() -> None:
    assert all(isinstance(method, NoiseTunnel) for method in GRADIENT_METHODS.values())
    assert all(method.name == name for name, method in GRADIENT_METHODS.items())
