"""Gradient maps that come through the whole service equal those of Captum, shap and zennit."""

from typing import Any

import captum.attr
import numpy as np
import pytest
import shap
import torch
from zennit.composites import EpsilonGammaBox, EpsilonPlusFlat
from zennit.core import Composite
from zennit.torchvision import ResNetCanonizer

from expound.v1 import method_pb2
from expound_client import Client
from expound_client import methods as m
from expound_client.method import Method
from tests import photos
from tests.integration.references import explained, for_captum, image_of, same, sums_of_quarters
from tests.numeric import test_gradient_shap
from tests.numeric.test_lrp_zennit import by_zennit, in_zennits_form

MODELS = ["efficientnet_lite0", "cifar", "resnet18", "handwritten"]
RECTIFIED = ["efficientnet_lite0", "cifar", "resnet18"]
BACKGROUND = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", MODELS)
def test_saliency_equals_captums(client: Client, name: str) -> None:
    ours = explained(client, name, m.Saliency())
    saliency = captum.attr.Saliency(photos.model(name).module)
    same(ours.values, saliency.attribute(image_of(name).requires_grad_(), ours.target.index)[0])


@pytest.mark.parametrize("name", MODELS)
def test_input_x_gradient_equals_captums(client: Client, name: str) -> None:
    ours = explained(client, name, m.InputXGradient())
    method = captum.attr.InputXGradient(photos.model(name).module)
    same(ours.values, method.attribute(image_of(name).requires_grad_(), ours.target.index)[0])


@pytest.mark.parametrize("name", MODELS)
def test_integrated_gradients_equal_captums_and_sum_to_the_difference(
    client: Client, name: str
) -> None:
    ours = explained(client, name, m.IntegratedGradients(n_steps=20))
    image, module = image_of(name), photos.model(name).module
    reference, delta = captum.attr.IntegratedGradients(module).attribute(
        image, target=ours.target.index, n_steps=20, return_convergence_delta=True
    )
    # An activation at the edge of ReLU6 falls on either side by rounding, so that batches of other
    # sizes differ: on EfficientNet-Lite0 float32 is 1e-3 from float64.
    same(ours.values, reference[0], tolerance=2e-3)
    assert ours.convergence_delta == pytest.approx(float(delta), abs=1e-3)
    with torch.inference_mode():
        ends = module(torch.cat([image, torch.zeros_like(image)]))[:, ours.target.index]
    difference = float(ends[0] - ends[1])
    assert ours.convergence_delta is not None
    assert ours.values.sum() == pytest.approx(difference + ours.convergence_delta, abs=1e-3)


def test_steps_grow_until_the_precision_asked_for_is_reached(client: Client) -> None:
    method = m.IntegratedGradients(n_steps=3, max_delta=1e-3)
    ours = explained(client, "cifar", method)
    few = explained(client, "cifar", m.IntegratedGradients(n_steps=3))
    assert few.n_steps == 3
    assert few.completeness_error is not None and few.completeness_error > 1e-3
    assert ours.n_steps in [3 * 2**doublings for doublings in range(1, 10)]
    assert ours.completeness_error is not None and ours.completeness_error <= 1e-3
    assert ours.baseline_output is not None and ours.warnings == ()
    difference = ours.output - ours.baseline_output
    error = abs(ours.values.sum(dtype=np.float64) / difference - 1)
    assert error == pytest.approx(ours.completeness_error, abs=1e-4)
    reference = captum.attr.IntegratedGradients(photos.model("cifar").module).attribute(
        image_of("cifar"), target=ours.target.index, n_steps=ours.n_steps
    )
    same(ours.values, reference[0], tolerance=1e-4)


def test_a_precision_out_of_reach_is_told_with_the_error_that_is_left(client: Client) -> None:
    method = m.IntegratedGradients(n_steps=3, max_delta=1e-6, max_steps=9)
    ours = explained(client, "cifar", method)
    assert ours.n_steps == 9
    assert ours.completeness_error is not None and ours.completeness_error > 1e-6
    (warning,) = ours.warnings
    assert "with 9 steps" in warning and "max_delta=1e-06 is not reached" in warning


def test_gradient_shap_equals_one_point_at_a_time_with_the_same_draws(client: Client) -> None:
    method = m.GradientShap(n_samples=20, baselines=(m.ZeroBaseline(), m.ColorBaseline(red=1)))
    ours = explained(client, "cifar", method, seed=5)
    parameters = method_pb2.GradientShap(n_samples=20, stdev=method.stdev)
    parameters.baselines.add().zero.SetInParent()
    parameters.baselines.add().color.red = 1
    values, deltas = test_gradient_shap.literal(
        photos.model("cifar"), image_of("cifar")[0], ours.target.index, parameters, seed=5
    )
    same(ours.values, values, tolerance=1e-4)
    assert ours.convergence_delta == pytest.approx(deltas.mean(), abs=1e-5)
    assert ours.standard_error == pytest.approx(deltas.std(ddof=1) / np.sqrt(20), rel=1e-3)


def test_gradient_shap_agrees_with_captums_within_chance(client: Client) -> None:
    """One map of 2000 samples, and 20 of Captum's with 100 each: sums over quarters."""
    ours = explained(client, "cifar", m.GradientShap(n_samples=2000, stdev=0.2))
    method = captum.attr.GradientShap(photos.model("cifar").module)
    image, theirs = image_of("cifar"), []
    state = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.random.seed(0)
        for _ in range(20):
            values = method.attribute(
                image, torch.zeros_like(image), 100, stdevs=0.2, target=ours.target.index
            )
            theirs.append(values[0].detach().numpy())
    np.random.set_state(state)
    (expected,) = sums_of_quarters([ours.values])
    quarters = sums_of_quarters(theirs)
    error = quarters.std(axis=0, ddof=1) / np.sqrt(20)  # of 2000 samples, as ours are
    assert (np.abs(quarters.mean(axis=0) - expected) < 4 * np.sqrt(2) * error).all()
    assert (error < 0.1 * np.abs(expected).max()).all()  # which would see a wrong factor


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")
def test_deep_lift_and_deep_lift_shap_equal_captums(client: Client) -> None:
    """On the network written in modules; elsewhere Captum's DeepLift raises, or is wrong."""
    methods = [m.DeepLift(), m.DeepLiftShap(baselines=tuple(BACKGROUND.numpy()))]
    result = client.explain(photos.chelsea(), model="cifar", methods=methods).result(60)
    ours, averaged = result["deep_lift"], result["deep_lift_shap"]
    image, target = image_of("cifar").requires_grad_(), ours.target.index
    module, zero = for_captum("cifar"), torch.zeros(1, 3, 32, 32)
    one = captum.attr.DeepLift(module).attribute(image, zero, target=target)
    same(ours.values, one[0], tolerance=1e-4)
    many = captum.attr.DeepLiftShap(module).attribute(image, BACKGROUND, target=target)
    same(averaged.values, many[0], tolerance=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_deep_lift_is_complete_where_captum_is_not(client: Client, name: str) -> None:
    ours = explained(client, name, m.DeepLift(baseline=m.ColorBaseline()))
    image, module = image_of(name), photos.model(name).module
    black = photos.model(name).preprocessing.normalize_color((0, 0, 0)).expand_as(image)
    with torch.inference_mode():
        ends = module(torch.cat([image, black]))[:, ours.target.index].double()
    assert ours.completeness_error is not None and ours.completeness_error < 1e-3
    total = ours.values.sum(dtype=np.float64)
    assert total == pytest.approx(float(ends[0] - ends[1]), rel=1e-3)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")  # shap's
def test_deep_shap_equals_shaps_deep_explainer(client: Client) -> None:
    ours = explained(client, "cifar", m.DeepShap(baselines=tuple(BACKGROUND.numpy())))
    explainer = shap.DeepExplainer(for_captum("cifar"), BACKGROUND)
    values = explainer.shap_values(image_of("cifar"), check_additivity=True)
    same(ours.values, values[0, ..., ours.target.index], tolerance=1e-4)
    assert ours.baseline_output == pytest.approx(
        explainer.expected_value[ours.target.index], abs=1e-5
    )


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations:UserWarning")
@pytest.mark.parametrize("name", RECTIFIED)
@pytest.mark.parametrize(
    ("method", "theirs"),
    [
        (m.GuidedBackprop(), captum.attr.GuidedBackprop),
        (m.Deconvolution(), captum.attr.Deconvolution),
    ],
    ids=["guided_backprop", "deconvolution"],
)
def test_maps_with_rules_for_rectifiers_equal_captums(
    client: Client, name: str, method: Method, theirs: Any
) -> None:
    ours = explained(client, name, method)
    image = image_of(name).requires_grad_()
    same(ours.values, theirs(for_captum(name)).attribute(image, ours.target.index)[0], 1e-4)


@pytest.mark.parametrize(
    ("name", "layer"), [("efficientnet_lite0", "_bn1"), ("cifar", "conv1"), ("resnet18", "layer3")]
)
def test_grad_cam_equals_captums(client: Client, name: str, layer: str) -> None:
    ours = explained(client, name, m.GradCam(layer=layer))
    module, image = photos.model(name).module, image_of(name)
    coarse = captum.attr.LayerGradCam(module, module.get_submodule(layer)).attribute(
        image, target=ours.target.index, relu_attributions=True
    )
    reference = captum.attr.LayerAttribution.interpolate(coarse, image.shape[2:], "bilinear")
    same(ours.values, reference[0, 0])


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations:UserWarning")
@pytest.mark.parametrize(
    ("name", "layer"), [("efficientnet_lite0", "_bn1"), ("resnet18", "layer2")]
)
def test_guided_grad_cam_equals_captums(client: Client, name: str, layer: str) -> None:
    ours = explained(client, name, m.GuidedGradCam(layer=layer))
    module = for_captum(name)
    method = captum.attr.GuidedGradCam(module, module.get_submodule(layer))
    reference = method.attribute(
        image_of(name).requires_grad_(), ours.target.index, interpolate_mode="bilinear"
    )
    same(ours.values, reference[0], tolerance=1e-4)


@pytest.mark.parametrize("box", [False, True])
def test_lrp_equals_zennits(client: Client, box: bool) -> None:
    image = image_of("resnet18").double()
    theirs: Composite
    if box:
        method = m.Lrp(composite="epsilon_gamma_box", epsilon=1e-4, gamma=0.3)
        color = photos.model("resnet18").preprocessing.normalize_color
        low, high = (color((level,) * 3).double()[None] for level in (0.0, 1.0))
        theirs = EpsilonGammaBox(low, high, 1e-4, 0.3, canonizers=[ResNetCanonizer()])
    else:
        method = m.Lrp(composite="epsilon_plus_flat", epsilon=1e-4)
        theirs = EpsilonPlusFlat(epsilon=1e-4, canonizers=[ResNetCanonizer()])
    ours = explained(client, "resnet18", method)
    module, target = in_zennits_form(for_captum("resnet18")), torch.tensor([ours.target.index])
    same(ours.values, by_zennit(module, image, target, theirs)[0], tolerance=1e-4)
    assert ours.completeness_error is not None
    total = ours.values.sum(dtype=np.float64)
    assert ours.completeness_error == pytest.approx(abs(total / ours.output - 1), rel=1e-3)


def test_a_noise_tunnel_equals_captums(client: Client) -> None:
    tunnel = m.NoiseTunnel(type="smoothgrad_sq", n_samples=16, stdev=0.2)
    method = m.Saliency(key="saliency", noise_tunnel=tunnel)
    ours = explained(client, "cifar", method, seed=5)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        saliency = captum.attr.Saliency(photos.model("cifar").module)
        reference = captum.attr.NoiseTunnel(saliency).attribute(
            image_of("cifar").requires_grad_(),
            nt_type="smoothgrad_sq",
            nt_samples=16,
            nt_samples_batch_size=16,
            stdevs=0.2,
            target=ours.target.index,
        )
    same(ours.values, reference[0])


def test_on_the_default_model_values_miss_their_sums_by_what_is_told(client: Client) -> None:
    """Of the methods that no library has right there."""
    both = (m.ZeroBaseline(), m.ColorBaseline())
    methods = [
        m.GradientShap(n_samples=8),
        m.DeepLiftShap(baselines=both),
        m.DeepShap(),
        m.Lrp(),
    ]
    explanation = client.explain(photos.chelsea(), model="efficientnet_lite0", methods=methods)
    result = explanation.result(60)
    for method in methods:
        ours = result[method.name]
        assert ours.convergence_delta is not None and ours.completeness_error is not None
        delta = ours.values.sum(dtype=np.float64) - (ours.output - (ours.baseline_output or 0))
        assert delta == pytest.approx(ours.convergence_delta, abs=1e-4)
        if method.name.startswith("deep"):
            assert ours.completeness_error < 1e-3
    sampled = result["gradient_shap"]
    assert sampled.standard_error is not None and sampled.convergence_delta is not None
    assert abs(sampled.convergence_delta) < 5 * sampled.standard_error
