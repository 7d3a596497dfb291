"""Input times gradient equals Captum's."""

import captum.attr
import numpy as np
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.input_x_gradient import InputXGradient
from expound_worker.models.model import Model
from tests.numeric.gradients import batch_of, pair


def test_values_equal_captums_for_several_inputs_and_targets(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch = pair(cifar, thumbnail)
    answers = InputXGradient().attribute(cifar, batch, m.InputXGradient(), seed=0)
    for answer, image, target in zip(answers, batch.inputs, batch.targets, strict=True):
        inputs = image[None].clone().requires_grad_()
        expected = captum.attr.InputXGradient(cifar.module).attribute(inputs, target=int(target))
        assert np.allclose(answer.values, expected[0].detach(), rtol=1e-4, atol=1e-6)
        assert answer.evaluations == 1


def test_values_equal_captums_on_efficientnet(efficientnet: Model, photo: Tensor) -> None:
    batch = batch_of(efficientnet, photo, targets=[281])
    (answer,) = InputXGradient().attribute(efficientnet, batch, m.InputXGradient(), seed=0)
    inputs = photo[None].clone().requires_grad_()
    expected = captum.attr.InputXGradient(efficientnet.module).attribute(inputs, target=281)
    assert np.allclose(answer.values, expected[0].detach(), atol=1e-6)
    assert answer.values.dtype == np.float32


def test_the_inputs_are_left_as_they_were(cifar: Model, thumbnail: Tensor) -> None:
    batch = pair(cifar, thumbnail)
    before = batch.inputs.clone()
    InputXGradient().attribute(cifar, batch, m.InputXGradient(), seed=0)
    assert batch.inputs.equal(before) and not batch.inputs.requires_grad
    assert batch.inputs.grad is None
