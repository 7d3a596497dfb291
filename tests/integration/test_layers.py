"""Layer methods of a running service: the layer that they take, and Captum's numbers at it."""

import captum.attr
import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from expound_client import Client
from expound_client import methods as m
from expound_client.errors import InvalidArgumentError
from tests import photos


def same(ours: NDArray[np.float32], theirs: Tensor, tolerance: float = 1e-4) -> None:
    reference = theirs.detach().numpy()
    assert ours.shape == reference.shape
    assert np.abs(ours - reference).max() <= tolerance * np.abs(reference).max()


def test_all_layer_methods_say_which_layer_they_took_and_why(client: Client) -> None:
    methods = [
        "grad_cam",
        "guided_grad_cam",
        "layer_activation",
        "layer_conductance",
        "grad_cam_plus_plus",
        "layer_cam",
        "score_cam",
        "eigen_cam",
    ]
    (marked,) = [layer for layer in client.model("resnet18").layers if layer.default]
    assert marked.name == "layer4"
    explanation = client.explain(photos.chelsea(), model="resnet18", methods=methods).result(120)
    for method in methods:
        assert explanation[method].layer == "layer4"
        assert explanation[method].layer_reason.startswith("the last layer with a map (2x2")
        assert explanation[method].values.any()


def test_layer_activation_equals_captums(client: Client) -> None:
    method = m.LayerActivation(layer="conv2")
    result = client.explain(photos.chelsea(), model="cifar", methods=[method]).result(60)
    ours = result["layer_activation"]
    module, image = photos.model("cifar").module, photos.model_input("cifar", photos.chelsea())
    layer = captum.attr.LayerActivation(module, module.get_submodule("conv2"))
    mean = layer.attribute(image).mean(dim=1, keepdim=True)
    same(ours.values, captum.attr.LayerAttribution.interpolate(mean, (32, 32), "bilinear")[0, 0])


def test_layer_conductance_equals_captums(client: Client) -> None:
    method = m.LayerConductance(layer="layer1", n_steps=10, interpolation="nearest")
    result = client.explain(photos.chelsea(), model="resnet18", methods=[method]).result(60)
    ours = result["layer_conductance"]
    module = photos.model("resnet18").module
    layer = captum.attr.LayerConductance(module, module.get_submodule("layer1"))
    image = photos.model_input("resnet18", photos.chelsea())
    coarse = layer.attribute(image, target=ours.target.index, n_steps=10).sum(1, keepdim=True)
    shared = captum.attr.LayerAttribution.interpolate(coarse / 16, (64, 64), "nearest")[0, 0]
    same(ours.values, shared)  # each of 16 x 16 cells among its 4 x 4 pixels
    assert ours.n_steps == 10


def test_an_unknown_layer_is_refused_with_the_nearest_ones(client: Client) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        client.explain(
            photos.chelsea(),
            model="resnet18",
            methods=["saliency", m.LayerCam(layer="layer4.1.cv")],
        )
    (violation,) = raised.value.violations
    assert violation.field == "methods[1].layer_cam.layer"
    assert "the nearest: layer4.1.conv1, " in violation.description
