"""Maps that come through the whole service equal those of Captum, lime and shap run directly."""

import captum.attr
import numpy as np
import pytest
import shap
import torch
from lime.lime_base import LimeBase
from numpy.typing import NDArray

from expound_client import Client
from expound_client import methods as m
from tests import photos

MODELS = ["efficientnet_lite0", "cifar", "resnet18"]


def same(ours: NDArray[np.float32], theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    reference = theirs.detach().squeeze(0).numpy()
    assert ours.shape == reference.shape
    assert np.abs(ours - reference).max() <= tolerance * np.abs(reference).max()


@pytest.mark.parametrize("name", MODELS)
def test_saliency_equals_captums(client: Client, name: str) -> None:
    result = client.explain(photos.chelsea(), model=name, methods=["saliency"]).result(60)
    ours = result["saliency"]
    image = photos.model_input(name, photos.chelsea()).requires_grad_()
    saliency = captum.attr.Saliency(photos.model(name).module)
    same(ours.values, saliency.attribute(image, target=ours.target.index))


@pytest.mark.parametrize("name", MODELS)
def test_integrated_gradients_equal_captums_and_sum_to_the_difference(
    client: Client, name: str
) -> None:
    method = m.IntegratedGradients(n_steps=20)
    result = client.explain(photos.chelsea(), model=name, methods=[method]).result(60)
    ours = result["integrated_gradients"]
    image = photos.model_input(name, photos.chelsea())
    module = photos.model(name).module
    reference, delta = captum.attr.IntegratedGradients(module).attribute(
        image, target=ours.target.index, n_steps=20, return_convergence_delta=True
    )
    # An activation at the edge of ReLU6 falls on either side by rounding, so that batches of other
    # sizes differ: on EfficientNet-Lite0 float32 is 1e-3 from float64.
    same(ours.values, reference, tolerance=2e-3)
    assert ours.convergence_delta == pytest.approx(float(delta), abs=1e-3)
    with torch.inference_mode():
        ends = module(torch.cat([image, torch.zeros_like(image)]))[:, ours.target.index]
    difference = float(ends[0] - ends[1])
    assert ours.convergence_delta is not None
    assert ours.values.sum() == pytest.approx(difference + ours.convergence_delta, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "layer"), [("efficientnet_lite0", "_bn1"), ("cifar", "conv1"), ("resnet18", "layer3")]
)
def test_grad_cam_equals_captums(client: Client, name: str, layer: str) -> None:
    method = m.GradCam(layer=layer)
    result = client.explain(photos.chelsea(), model=name, methods=[method]).result(60)
    ours = result["grad_cam"]
    assert ours.layer == layer
    module = photos.model(name).module
    image = photos.model_input(name, photos.chelsea())
    coarse = captum.attr.LayerGradCam(module, module.get_submodule(layer)).attribute(
        image, target=ours.target.index, relu_attributions=True
    )
    reference = captum.attr.LayerAttribution.interpolate(coarse, image.shape[2:], "bilinear")
    same(ours.values, reference.squeeze(1))


def test_a_noise_tunnel_equals_captums(client: Client) -> None:
    tunnel = m.NoiseTunnel(type="smoothgrad_sq", n_samples=16, stdev=0.2)
    method = m.Saliency(noise_tunnel=tunnel)
    result = client.explain(photos.chelsea(), model="cifar", seed=5, methods=[method]).result(60)
    ours = result["saliency_smoothgrad_sq"]
    image = photos.model_input("cifar", photos.chelsea())
    with torch.random.fork_rng():
        torch.manual_seed(5)
        saliency = captum.attr.Saliency(photos.model("cifar").module)
        reference = captum.attr.NoiseTunnel(saliency).attribute(
            image,
            nt_type="smoothgrad_sq",
            nt_samples=16,
            nt_samples_batch_size=16,
            stdevs=0.2,
            target=ours.target.index,
        )
    same(ours.values, reference)


def literal_scores(
    name: str, segments: NDArray[np.int32], masks: NDArray[np.bool_], target: int
) -> NDArray[np.float64]:
    """Probability of the target for each mask, one image at a time, segments over zeros."""
    image = photos.model_input(name, photos.chelsea())[0]
    scores = []
    for mask in masks:
        kept = torch.from_numpy(np.isin(segments, np.flatnonzero(mask)))
        with torch.inference_mode():
            logits = photos.model(name).module(torch.where(kept, image, 0.0)[None])
        scores.append(float(logits.double().softmax(1)[0, target]))
    return np.array(scores)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "cifar"])
def test_lime_equals_limes_own_fit_on_the_same_masks(client: Client, name: str) -> None:
    method = m.Lime(n_samples=100)
    result = client.explain(photos.chelsea(), model=name, seed=3, methods=[method]).result(120)
    ours = result["lime"]
    assert ours.segments is not None and ours.weights is not None
    count = len(ours.weights)
    masks = np.random.RandomState(3).randint(0, 2, 100 * count).reshape(100, count)
    masks[0] = 1
    scores = literal_scores(name, ours.segments, masks.astype(bool), ours.target.index)
    norms = np.linalg.norm(masks, axis=1) * np.sqrt(count)
    distances = 1 - masks.sum(axis=1) / np.where(norms == 0, 1, norms)
    base = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)), random_state=0)
    _, weights, _, _ = base.explain_instance_with_data(masks, scores[:, None], distances, 0, count)
    reference = np.zeros(count)
    for segment, weight in weights:
        reference[segment] = weight
    assert np.abs(ours.weights - reference).max() <= 1e-4
    assert np.array_equal(ours.values, ours.weights.astype(np.float32)[ours.segments])


@pytest.mark.parametrize("name", ["efficientnet_lite0", "cifar"])
def test_kernel_shap_equals_shaps_own_explainer(client: Client, name: str) -> None:
    method = m.KernelShap(n_samples=100)
    result = client.explain(photos.chelsea(), model=name, seed=3, methods=[method]).result(120)
    ours = result["kernel_shap"]
    assert ours.segments is not None and ours.weights is not None
    segments, target, count = ours.segments, ours.target.index, len(ours.weights)

    def score(masks: NDArray[np.float64]) -> NDArray[np.float64]:
        return literal_scores(name, segments, masks.astype(bool), target)

    state = np.random.get_state()
    np.random.seed(3)
    explainer = shap.KernelExplainer(score, np.zeros((1, count)))
    reference = explainer.shap_values(np.ones(count), nsamples=100, l1_reg=False, silent=True)
    np.random.set_state(state)
    assert np.abs(ours.weights - reference).max() <= 1e-4
    assert ours.weights.sum() == pytest.approx(
        float(np.diff(score(np.array([np.zeros(count), np.ones(count)])))[0]), abs=1e-5
    )
