"""Guided Grad-CAM equals Captum's, and the product of its two parts everywhere."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from expound.v1 import method_pb2 as m
from expound_worker.methods.grad_cam import GradCam
from expound_worker.methods.guided_backprop import GuidedBackprop
from expound_worker.methods.guided_grad_cam import GuidedGradCam
from expound_worker.methods.method import Answer, Batch
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from tests.numeric.cuts import Classifier, close
from tests.numeric.gradients import batch_of
from tests.numeric.models import make_model, resolved

RECTIFIED = ("resnet18", "inception_v3", "shufflenet_v2_x1_0")
WITHOUT_RECTIFIERS = ("convnext_tiny", "swin_t", "vit_b_32", "efficientnet_b0")


def explained(model: Model, batch: Batch, parameters: m.GuidedGradCam) -> list[Answer]:
    return GuidedGradCam().attribute(model, batch, resolved(parameters), seed=0)


def modular() -> Model:
    """A network whose ReLUs are modules of their own, which is what Captum needs."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = nn.Sequential(
            nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(),
            nn.Flatten(), nn.Linear(8 * 12 * 12, 16), nn.ReLU(), nn.Linear(16, 10),
        )  # fmt: skip
    return make_model(network, Preprocessing((3, 32, 32), None, (0.5,) * 3, (0.5,) * 3), 16)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations:UserWarning")
@pytest.mark.parametrize("layer", ["0", "3", "4"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_values_equal_captums(layer: str, interpolation: str, thumbnail: Tensor) -> None:
    model = modular()
    # Classes for which something speaks at all these layers: the map of others is zero.
    batch = batch_of(model, thumbnail, thumbnail.flip(2) * 0.5, targets=[2, 9])
    ways = {"nearest": m.INTERPOLATION_NEAREST, "bilinear": m.INTERPOLATION_BILINEAR}
    asked = m.GuidedGradCam(layer=layer, interpolation=ways[interpolation])
    theirs = captum.attr.GuidedGradCam(model.module, model.module.get_submodule(layer)).attribute(
        batch.inputs.clone().requires_grad_(),
        target=batch.targets,
        interpolate_mode=interpolation,
    )
    assert isinstance(theirs, Tensor)
    for answer, values in zip(explained(model, batch, asked), theirs, strict=True):
        assert answer.layer == layer
        assert answer.values.shape == (3, 32, 32)
        assert close(answer.values, values)
        assert answer.evaluations == 2


@pytest.mark.parametrize("classifier", RECTIFIED, indirect=True)
def test_values_are_the_product_of_both_maps(classifier: Classifier) -> None:
    model, batch = classifier.model, classifier.batch
    cams = GradCam().attribute(model, batch, resolved(m.GradCam()), 0)
    gradients = GuidedBackprop().attribute(model, batch, m.GuidedBackprop(), 0)
    answers = explained(model, batch, m.GuidedGradCam())
    for answer, cam, gradient in zip(answers, cams, gradients, strict=True):
        assert answer.values.any()
        assert np.allclose(answer.values, gradient.values * cam.values)
        assert (answer.layer, answer.layer_reason) == (cam.layer, cam.layer_reason)


@pytest.mark.parametrize("classifier", WITHOUT_RECTIFIERS, indirect=True)
def test_networks_of_other_activations_are_refused_as_by_guided_backpropagation(
    classifier: Classifier,
) -> None:
    refusal = GuidedGradCam().refusal(classifier.model)
    assert refusal is not None and "use " in refusal
    assert refusal == GuidedBackprop().refusal(classifier.model)
