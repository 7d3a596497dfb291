"""Layer methods of a running service: the layer that they take, and Captum's numbers at it."""

from collections.abc import Callable

import captum.attr
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound_client import Client
from expound_client import methods as m
from expound_client.errors import InvalidArgumentError
from expound_client.method import Method
from tests import photos
from tests.integration.references import explained, image_of, maps_and_gradients, same
from tests.numeric import test_eigen_cam, test_grad_cam_plus_plus, test_layer_cam, test_score_cam
from tests.numeric.cuts import enlarged


def literal_grad_cam(maps: Tensor, gradients: Tensor) -> NDArray[np.float64]:
    """(h, w) of one input, one channel at a time."""
    total = np.zeros(maps.shape[1:])
    for channel, gradient in zip(maps.double().numpy(), gradients.double().numpy(), strict=True):
        total += gradient.mean() * channel
    return np.maximum(total, 0)


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


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("efficientnet_lite0", "_bn1"),
        ("cifar", "conv2"),
        ("resnet18", "layer3"),
        ("handwritten", "block#1"),
    ],
)
@pytest.mark.parametrize(
    ("method", "literal"),
    [
        (m.GradCam, literal_grad_cam),
        (m.GradCamPlusPlus, test_grad_cam_plus_plus.literal),
        (m.LayerCam, test_layer_cam.literal),
        (m.EigenCam, test_eigen_cam.literal),
    ],
    ids=["grad_cam", "grad_cam_plus_plus", "layer_cam", "eigen_cam"],
)
def test_class_activation_maps_are_the_papers(
    client: Client,
    method: Callable[..., Method],
    literal: Callable[[Tensor, Tensor], NDArray[np.float64]],
    name: str,
    layer: str,
) -> None:
    ours = explained(client, name, method(layer=layer))
    coarse = torch.from_numpy(literal(*maps_and_gradients(name, layer, ours.target.index)))
    same(ours.values, enlarged(coarse[None], ours.values.shape)[0], tolerance=1e-4)
    assert ours.layer == layer


@pytest.mark.parametrize(
    ("name", "layer"), [("cifar", "conv2"), ("resnet18", "layer1"), ("handwritten", "block#1")]
)
def test_score_cam_is_the_papers(client: Client, name: str, layer: str) -> None:
    ours = explained(client, name, m.ScoreCam(layer=layer, baseline=m.ColorBaseline()))
    model, image = photos.model(name), image_of(name)[0]
    maps, _ = maps_and_gradients(name, layer, ours.target.index)
    black = model.preprocessing.normalize_color((0.0, 0.0, 0.0)).expand_as(image)
    coarse = test_score_cam.literal(model, image, black, maps, ours.target.index)
    size = (image.shape[1], image.shape[2])
    same(ours.values, enlarged(torch.from_numpy(coarse)[None], size)[0], tolerance=1e-4)


@pytest.mark.parametrize(("name", "layer"), [("efficientnet_lite0", "_bn1"), ("cifar", "conv2")])
def test_layer_activation_equals_captums(client: Client, name: str, layer: str) -> None:
    ours = explained(client, name, m.LayerActivation(layer=layer))
    module, image = photos.model(name).module, image_of(name)
    theirs = captum.attr.LayerActivation(module, module.get_submodule(layer)).attribute(image)
    mean = theirs.mean(dim=1, keepdim=True)
    large = captum.attr.LayerAttribution.interpolate(mean, image.shape[2:], "bilinear")
    same(ours.values, large[0, 0], tolerance=1e-4)


def test_layer_conductance_equals_captums(client: Client) -> None:
    method = m.LayerConductance(layer="layer1", n_steps=10, interpolation="nearest")
    ours = explained(client, "resnet18", method)
    module = photos.model("resnet18").module
    layer = captum.attr.LayerConductance(module, module.get_submodule("layer1"))
    image = image_of("resnet18")
    coarse = layer.attribute(image, target=ours.target.index, n_steps=10).sum(1, keepdim=True)
    shared = captum.attr.LayerAttribution.interpolate(coarse / 16, (64, 64), "nearest")[0, 0]
    # Each of 16 x 16 cells is shared out among its 4 x 4 pixels.
    same(ours.values, shared, tolerance=1e-4)
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
