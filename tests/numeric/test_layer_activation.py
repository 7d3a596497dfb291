"""Layer activation equals Captum's, averaged over the channels."""

import captum.attr
import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.layer_activation import LayerActivation
from expound_worker.methods.method import Answer, Batch
from expound_worker.models.model import Model
from tests.numeric.cuts import Classifier, close, enlarged
from tests.numeric.gradients import pair
from tests.numeric.models import resolved

CANCELLING = ("swin_t", "vit_b_32")
"""The layer that explains them is a LayerNorm, here without learned scales."""


def explained(
    model: Model, batch: Batch, parameters: m.LayerActivation | None = None
) -> list[Answer]:
    asked = resolved(parameters or m.LayerActivation())
    return LayerActivation().attribute(model, batch, asked, seed=0)


def literal(maps: Tensor, _gradients: Tensor) -> NDArray[np.float64]:
    """(h, w) of one input."""
    total = np.zeros(maps.shape[1:])
    for channel in maps.double().numpy():
        total += channel
    return total / len(maps)


def test_values_are_the_mean_of_the_channels(classifier: Classifier) -> None:
    for answer, coarse in classifier.answers_beside(explained, literal):
        assert answer.layer == classifier.cut.layer
        assert answer.evaluations == 1
        if classifier.name in CANCELLING:
            assert coarse.abs().max() < 1e-6
            assert not answer.values.any()
            (warning,) = answer.warnings
            assert f"layer '{answer.layer}' are zero on this input, or cancel out" in warning
        else:
            assert close(answer.values, classifier.enlarged(coarse))
            assert answer.warnings == []


@pytest.mark.parametrize("classifier", CANCELLING, indirect=True)
def test_layers_of_tokens_before_a_norm_have_maps(classifier: Classifier) -> None:
    layer = {"swin_t": "features.7", "vit_b_32": "encoder.layers.encoder_layer_5"}[classifier.name]
    for answer in explained(classifier.model, classifier.batch, m.LayerActivation(layer=layer)):
        assert np.abs(answer.values).max() > 1e-3


@pytest.mark.parametrize("run", [1, 2])
def test_values_of_a_module_that_runs_twice_are_those_of_the_run(
    run: int, cifar: Model, thumbnail: Tensor
) -> None:
    batch = pair(cifar, thumbnail)
    outputs: list[Tensor] = []
    pool = cifar.module.get_submodule("0.pool")
    hook = pool.register_forward_hook(lambda *given: outputs.append(given[2].clone()))
    cifar.module(batch.inputs)
    hook.remove()
    asked = m.LayerActivation(layer=f"0.pool#{run}", interpolation=m.INTERPOLATION_NEAREST)
    expected = enlarged(outputs[run - 1].mean(dim=1), (32, 32), "nearest")
    for answer, values in zip(explained(cifar, batch, asked), expected, strict=True):
        assert close(answer.values, values)


@pytest.mark.parametrize("layer", ["0.conv1", "0.conv2"])
def test_values_equal_captums(layer: str, cifar: Model, thumbnail: Tensor) -> None:
    batch = pair(cifar, thumbnail)
    module = cifar.module.get_submodule(layer)
    theirs = captum.attr.LayerActivation(cifar.module, module).attribute(batch.inputs)
    assert isinstance(theirs, Tensor)
    asked = m.LayerActivation(layer=layer, interpolation=m.INTERPOLATION_NEAREST)
    expected = enlarged(theirs.mean(dim=1), (32, 32), "nearest")
    for answer, values in zip(explained(cifar, batch, asked), expected, strict=True):
        assert close(answer.values, values)
