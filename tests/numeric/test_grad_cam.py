"""Grad-CAM equals Captum's where that reads the layer right, and the paper's sum everywhere."""

import captum.attr
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.grad_cam import GradCam
from expound_worker.methods.method import Answer, Batch
from expound_worker.models.model import Model
from tests.numeric.cuts import Classifier, close, enlarged
from tests.numeric.gradients import pair
from tests.numeric.models import resolved

MISREAD_BY_CAPTUM = ("swin_t", "vit_b_32")
NEAREST = m.INTERPOLATION_NEAREST


def explained(model: Model, batch: Batch, parameters: m.GradCam | None = None) -> list[Answer]:
    return GradCam().attribute(model, batch, resolved(parameters or m.GradCam()), seed=0)


def captums(model: Model, batch: Batch, layer: str, relu: bool = True) -> Tensor:
    """(N, h, w) what Captum gives."""
    method = captum.attr.LayerGradCam(model.module, model.module.get_submodule(layer))
    coarse = method.attribute(batch.inputs, target=batch.targets, relu_attributions=relu)
    assert isinstance(coarse, Tensor)
    return coarse[:, 0].detach()


def literal(maps: Tensor, gradients: Tensor) -> NDArray[np.float64]:
    """(h, w) of one input, in the words of the paper."""
    total = np.zeros(maps.shape[1:])
    for channel, gradient in zip(maps.double().numpy(), gradients.double().numpy(), strict=True):
        alpha = gradient.sum() / gradient.size
        total += alpha * channel
    return np.maximum(total, 0)


def test_values_are_the_papers_sum_at_the_layer_that_explains_the_network(
    classifier: Classifier,
) -> None:
    for answer, coarse in classifier.answers_beside(explained, literal):
        assert answer.layer == classifier.cut.layer
        assert answer.layer_reason.startswith("the last layer with a map")
        assert close(answer.values, classifier.enlarged(coarse))
        assert answer.evaluations == 1


def test_values_equal_captums_unless_it_misreads_the_layer(classifier: Classifier) -> None:
    model, batch = classifier.model, classifier.batch
    if classifier.name in MISREAD_BY_CAPTUM:
        pytest.skip("the layer's channels are not where Captum looks for them")
    coarse = captums(model, batch, classifier.cut.layer, relu=False)
    for answer, values in zip(explained(model, batch, m.GradCam(relu=False)), coarse, strict=True):
        assert close(answer.values, classifier.enlarged(values))


@pytest.mark.parametrize("classifier", ["swin_t"], indirect=True)
def test_swins_maps_are_not_those_that_come_of_taking_rows_for_channels(
    classifier: Classifier,
) -> None:
    misread = captums(classifier.model, classifier.batch, classifier.cut.layer)
    channels = classifier.cut.maps.shape[1]
    assert misread.shape == (2, 2, channels)
    for answer, values in zip(explained(classifier.model, classifier.batch), misread, strict=True):
        ours, theirs = torch.from_numpy(answer.values), classifier.enlarged(values)
        similarity = torch.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0)
        assert similarity < 0.9


def test_a_layer_by_name_with_negative_evidence_and_hard_cells(
    cifar: Model, thumbnail: Tensor
) -> None:
    batch = pair(cifar, thumbnail)
    asked = m.GradCam(layer="0.conv2", relu=False, interpolation=NEAREST)
    coarse = captums(cifar, batch, "0.conv2", relu=False)
    expected = enlarged(coarse, (32, 32), "nearest")
    for answer, values in zip(explained(cifar, batch, asked), expected, strict=True):
        assert answer.layer == "0.conv2"
        assert answer.layer_reason == "named in the request"
        assert close(answer.values, values)
        assert answer.values.min() < 0


def test_each_input_is_explained_as_if_it_were_alone(cifar: Model, thumbnail: Tensor) -> None:
    batch = pair(cifar, thumbnail)
    for index, answer in enumerate(explained(cifar, batch)):
        (alone,) = explained(cifar, batch.one(index))
        assert np.allclose(answer.values, alone.values, atol=1e-6)


@pytest.mark.parametrize("classifier", ["vit_b_32"], indirect=True)
def test_a_layer_on_which_the_score_does_not_depend_is_warned_of(classifier: Classifier) -> None:
    asked = m.GradCam(layer="encoder.ln")
    for answer in explained(classifier.model, classifier.batch, asked):
        assert not answer.values.any()
        (warning,) = answer.warnings
        assert "no gradient at the positions of layer 'encoder.ln'" in warning
