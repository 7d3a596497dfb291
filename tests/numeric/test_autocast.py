"""Under autocast the scores beside a map are those of the network that its gradients are of."""

import dataclasses

import pytest
import torch
from google.protobuf.message import Message
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.models.model import Model
from tests.numeric.gradients import batch_of
from tests.numeric.models import resolved

METHODS: list[tuple[str, Message]] = [
    ("integrated_gradients", m.IntegratedGradients(n_steps=8)),
    (
        "integrated_gradients",
        m.IntegratedGradients(n_steps=2, noise_tunnel=m.NoiseTunnel(n_samples=2)),
    ),
    ("gradient_shap", m.GradientShap(n_samples=8, stdev=0.1)),
    ("deep_lift", m.DeepLift()),
    ("deep_shap", m.DeepShap()),
    ("layer_conductance", m.LayerConductance(n_steps=8)),
    ("lrp", m.Lrp()),
]


@pytest.fixture(scope="module")
def fast(cifar: Model) -> Model:
    inference = dataclasses.replace(cifar.inference, autocast=torch.bfloat16)
    return dataclasses.replace(cifar, inference=inference)


@pytest.mark.parametrize(("name", "parameters"), METHODS)
def test_answers_are_those_without_autocast(
    name: str, parameters: Message, cifar: Model, fast: Model, thumbnail: Tensor
) -> None:
    assert not torch.equal(fast.logits(thumbnail[None]), cifar.logits(thumbnail[None]))
    one, other = (
        GRADIENT_METHODS[name].attribute(model, batch_of(model, thumbnail), resolved(parameters), 0)
        for model in (cifar, fast)
    )
    assert other[0].output == one[0].output
    assert other[0].baseline_output == one[0].baseline_output
    assert other[0].convergence_delta == one[0].convergence_delta
    assert other[0].warnings == one[0].warnings


def test_logits_without_gradients_are_computed_at_less_precision(
    fast: Model, cifar: Model, thumbnail: Tensor
) -> None:
    inputs = thumbnail[None]
    assert torch.equal(fast.float32_logits(inputs), cifar.logits(inputs))
    assert torch.equal(cifar.float32_logits(inputs), cifar.logits(inputs))
