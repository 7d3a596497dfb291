"""Saliency equals Captum's, also where it goes on from the forward pass of the prediction."""

import captum.attr
import pytest
import torch
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.forward import Forward
from expound_worker.methods.input_x_gradient import InputXGradient
from expound_worker.methods.method import Batch
from expound_worker.methods.saliency import Saliency
from expound_worker.models.model import Model
from tests.numeric.gradients import pair


@pytest.fixture
def batch(cifar: Model, thumbnail: Tensor) -> Batch:
    return pair(cifar, thumbnail)


def shared(model: Model, batch: Batch) -> Batch:
    forward = Forward.run(model, batch.inputs)
    return Batch(batch.inputs, batch.targets, batch.logits, forward)


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("is_shared", [True, False])
def test_values_equal_captums(cifar: Model, batch: Batch, is_shared: bool, absolute: bool) -> None:
    explained = shared(cifar, batch) if is_shared else batch
    parameters = m.Saliency(absolute=absolute)
    answers = Saliency().attribute(cifar, explained, parameters, seed=0)
    expected = captum.attr.Saliency(cifar.module).attribute(
        batch.inputs.clone().requires_grad_(), target=batch.targets, abs=absolute
    )
    for answer, values in zip(answers, expected, strict=True):
        assert torch.allclose(torch.from_numpy(answer.values), values, rtol=1e-4, atol=1e-6)


def test_two_methods_go_on_from_one_forward_pass(cifar: Model, batch: Batch) -> None:
    one = shared(cifar, batch)
    for each in (batch, one):
        saliency = Saliency().attribute(cifar, each, m.Saliency(absolute=False), seed=0)
        product = InputXGradient().attribute(cifar, each, m.InputXGradient(), seed=0)
        for first, second, image in zip(saliency, product, batch.inputs, strict=True):
            assert (first.values * image.numpy() == second.values).all()
