"""LRP is zennit's where zennit works: on VGG and ResNet, by its canonizers."""

import pytest
import torch
from torch import Tensor, nn
from zennit.attribution import Gradient
from zennit.composites import EpsilonGammaBox, EpsilonPlusFlat, LayerMapComposite, layer_map_base
from zennit.core import Composite
from zennit.rules import Epsilon
from zennit.torchvision import ResNetCanonizer, VGGCanonizer
from zennit.types import Linear

from expound_worker.propagation.lrp import composites
from expound_worker.propagation.lrp.layers import Bounds
from expound_worker.propagation.lrp.propagate import relevance
from tests.numeric.classifiers import build

LOW, HIGH = (torch.full((1, 3, 1, 1), end, dtype=torch.float64) for end in (-5.0, 5.0))
EPSILON, GAMMA = 1e-4, 0.3

OURS = {
    "epsilon_plus_flat": composites.epsilon_plus_flat(EPSILON),
    "epsilon_gamma_box": composites.epsilon_gamma_box(EPSILON, GAMMA),
    "epsilon": composites.epsilon_everywhere(EPSILON),
}


def zennits(composite: str, name: str) -> Composite:
    canonizers = [ResNetCanonizer() if name.startswith("resnet") else VGGCanonizer()]
    match composite:
        case "epsilon_plus_flat":
            return EpsilonPlusFlat(epsilon=EPSILON, canonizers=canonizers)
        case "epsilon_gamma_box":
            return EpsilonGammaBox(LOW, HIGH, EPSILON, GAMMA, canonizers=canonizers)
    return LayerMapComposite([*layer_map_base(), (Linear, Epsilon(EPSILON))], canonizers=canonizers)


def by_zennit(module: nn.Module, inputs: Tensor, targets: Tensor, composite: Composite) -> Tensor:
    def target_scores(output: Tensor) -> Tensor:
        columns = targets[:, None]
        scores = output.detach()
        return scores * torch.zeros_like(scores).scatter(1, columns, 1)

    with Gradient(module, composite) as attributor:
        _, values = attributor(inputs.clone().requires_grad_(), target_scores)
    relevances: Tensor = values.detach()
    return relevances


def in_zennits_form(module: nn.Module) -> nn.Module:
    """Batch norms without their epsilon: zennit 0.5 applies it twice, when it merges and after."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None:
            layer.running_var += layer.eps
            layer.eps = 0.0
    return module.double()


@pytest.mark.parametrize("name", ["vgg11_bn", "resnet18", "resnet50"])
def test_values_equal_zennits(name: str) -> None:
    module = in_zennits_form(build(name)[0])
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(1, 3, 48, 48, generator=generator, dtype=torch.float64)
    targets = torch.tensor([700])
    for composite, ours in OURS.items():
        expected = by_zennit(module, inputs, targets, zennits(composite, name))
        values, _ = relevance(module, inputs, targets, ours, Bounds(LOW, HIGH))
        scale = float(expected.abs().max())
        assert scale > 0
        assert torch.allclose(values, expected, rtol=0, atol=1e-9 * scale), composite
