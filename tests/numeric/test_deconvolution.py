"""Deconvolution equals Captum's, however a ReLU is written; other networks are refused."""

import captum.attr
import numpy as np
import pytest
from torch import Tensor, nn

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.deconvolution import Deconvolution
from expound_worker.methods.method import Answer, Batch, MethodError
from expound_worker.models.model import Model
from tests.numeric import rectified
from tests.numeric.gradients import batch_of, pair
from tests.numeric.models import cifar_of_modules

METHOD = Deconvolution()


def explained(model: Model, batch: Batch) -> list[Answer]:
    return METHOD.attribute(model, batch, m.Deconvolution(), seed=0)


def captums(module: nn.Module, batch: Batch) -> Tensor:
    inputs = batch.inputs.clone().requires_grad_()
    with pytest.warns(UserWarning, match="Setting backward hooks"):
        found = captum.attr.Deconvolution(module).attribute(inputs, target=batch.targets)
    values: Tensor = found.detach()
    return values


def test_values_equal_captums_on_the_same_network_written_in_modules(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch = pair(cifar, thumbnail)
    expected = captums(cifar_of_modules(cifar), batch)
    for answer, values in zip(explained(cifar, batch), expected, strict=True):
        assert np.allclose(answer.values, values, rtol=1e-4, atol=1e-6)
        assert answer.evaluations == 1


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
