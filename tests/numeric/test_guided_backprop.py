"""Guided backpropagation equals Captum's, however a ReLU is written; other networks are refused."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.guided_backprop import GuidedBackprop
from expound_worker.methods.method import Answer, Batch, MethodError
from expound_worker.models.model import Model
from tests.numeric import rectified
from tests.numeric.gradients import batch_of, pair
from tests.numeric.models import cifar_of_modules

METHOD = GuidedBackprop()


def explained(model: Model, batch: Batch) -> list[Answer]:
    return METHOD.attribute(model, batch, m.GuidedBackprop(), seed=0)


def captums(module: nn.Module, batch: Batch) -> Tensor:
    inputs = batch.inputs.clone().requires_grad_()
    with pytest.warns(UserWarning, match="Setting backward hooks"):
        found = captum.attr.GuidedBackprop(module).attribute(inputs, target=batch.targets)
    values: Tensor = found.detach()
    return values


def plain(module: nn.Module, batch: Batch) -> Tensor:
    inputs = batch.inputs.clone().requires_grad_()
    scores = module(inputs).gather(1, batch.targets[:, None])
    (found,) = torch.autograd.grad(scores.sum(), inputs)
    return found


def test_values_equal_captums_on_the_same_network_written_in_modules(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch = pair(cifar, thumbnail)
    answers = explained(cifar, batch)
    modules = cifar_of_modules(cifar)
    expected = captums(modules, batch)
    for answer, values in zip(answers, expected, strict=True):
        assert np.allclose(answer.values, values, rtol=1e-4, atol=1e-6)
        assert answer.evaluations == 1
    # Captum itself meets no ReLU in the network as it is.
    assert torch.allclose(captums(cifar.module, batch), plain(modules, batch), atol=1e-6)
    assert not torch.allclose(expected, plain(modules, batch), atol=1e-3)


@pytest.mark.parametrize("name", rectified.RECTIFIERS)
def test_a_rectifier_is_one_however_it_is_written(name: str) -> None:
    model = rectified.model(rectified.RECTIFIERS[name])
    batch = batch_of(model, *rectified.images(), targets=[1, 4])
    expected = captums(rectified.of_modules(), batch)
    assert METHOD.refusal(model) is None
    for answer, values in zip(explained(model, batch), expected, strict=True):
        assert np.allclose(answer.values, values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", rectified.OTHERS)
def test_networks_with_other_activations_are_refused_by_name(name: str) -> None:
    model = rectified.model(rectified.OTHERS[name])
    with pytest.raises(MethodError, match=f"the network has {name}: use deep_lift or") as caught:
        explained(model, batch_of(model, *rectified.images(), targets=[1, 4]))
    assert caught.value.reason is Reason.METHOD_UNSUPPORTED
    assert METHOD.refusal(model) == caught.value.message


def test_a_network_without_rectifiers_is_refused() -> None:
    model = rectified.model(nn.Identity())
    with pytest.raises(MethodError, match="no ReLU, and the map would be the plain gradient"):
        explained(model, batch_of(model, *rectified.images(), targets=[1, 4]))


@pytest.mark.parametrize("name", rectified.ALLOWED)
def test_what_is_no_activation_keeps_its_gradient_beside_rectifiers(name: str) -> None:
    model = rectified.model(rectified.ALLOWED[name])
    assert METHOD.refusal(model) is None
    batch = batch_of(model, *rectified.images(), targets=[1, 4])
    assert all(answer.values.any() for answer in explained(model, batch))


def test_nothing_is_left_of_a_run(cifar: Model, thumbnail: Tensor) -> None:
    batch = pair(cifar, thumbnail)
    before = batch.inputs.clone(), plain(cifar.module, batch)
    explained(cifar, batch)
    assert batch.inputs.equal(before[0]) and batch.inputs.grad is None
    assert plain(cifar.module, batch).equal(before[1])
    assert all(parameter.grad is None for parameter in cifar.module.parameters())
