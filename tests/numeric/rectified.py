"""Networks whose rectifiers are written in all the ways that people write them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from tests.numeric.models import make_model

Activation = Callable[[Tensor], Tensor]


class Swish(torch.autograd.Function):
    """An activation with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        return maps / (1 + (-maps).exp())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class Net(nn.Module):
    """Two convolutions and a linear layer, always the same, around one activation."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(8 * 36, 5)
        self.activation = activation  # one module for all

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.activation(self.conv1(inputs))
        maps = functional.max_pool2d(self.activation(self.conv2(maps)), 2)
        logits: Tensor = self.fc(maps.flatten(1))
        return logits


def model(activation: Activation) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net(activation)
    return make_model(net, Preprocessing((3, 16, 16), None, (0.5,) * 3, (0.5,) * 3), 4)


def of_modules() -> nn.Sequential:
    """The same network as Captum asks for it."""
    net = model(torch.relu).module
    assert isinstance(net, Net)
    return nn.Sequential(
        *(net.conv1, nn.ReLU(), net.conv2, nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), net.fc),
    )


def images() -> list[Tensor]:
    return list(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)))


def _in_parts(maps: Tensor) -> Tensor:
    maps[:, :4].relu_()
    functional.relu(maps[:, 4:], inplace=True)
    return maps


def _added_in_place(maps: Tensor) -> Tensor:
    maps += torch.zeros_like(maps)
    return functional.relu(maps)


RECTIFIERS: dict[str, Activation] = {
    "module, reused": nn.ReLU(),
    "module in place, reused": nn.ReLU(inplace=True),
    "functional": functional.relu,
    "functional in place": lambda maps: functional.relu(maps, inplace=True),
    "of torch": torch.relu,
    "of torch, its argument by name": lambda maps: torch.relu(input=maps),
    "method": lambda maps: maps.relu(),
    "method in place": lambda maps: maps.relu_(),
    "parts in place": _in_parts,
    "behind an addition in place": _added_in_place,
    "clamp": lambda maps: maps.clamp(min=0),
    "clamp_min in place": lambda maps: maps.clamp_min_(0.0),
    "threshold": nn.Threshold(0, 0),
    "hardtanh": nn.Hardtanh(0, 1e6),
    "of an exported program": torch.ops.aten.relu.default,
}
OTHERS: dict[str, Activation] = {
    "silu": nn.SiLU(),
    "gelu": functional.gelu,
    "hardswish": nn.Hardswish(inplace=True),
    "leaky_relu": nn.LeakyReLU(inplace=True),
    "elu": lambda maps: functional.elu(functional.relu(maps)),
    "sigmoid": torch.sigmoid,
    "tanh": nn.Tanh(),
    "abs": functional.softsign,
    "hardtanh": nn.Hardtanh(),
    "threshold": nn.Threshold(0.1, 0.0),
    "products of maps, sigmoid": lambda maps: maps * torch.sigmoid(maps),
    "hardsigmoid, products of maps": lambda maps: functional.hardsigmoid(maps).mul_(maps),
    "erf, products of maps": lambda maps: 0.5 * maps * (1 + torch.erf(maps / 2**0.5)),
    "products of maps": lambda maps: maps * (functional.relu6(maps + 3) / 6),
    "maximum": lambda maps: torch.maximum(maps, torch.zeros_like(maps)),
    "max": lambda maps: torch.max(maps, torch.tensor(0.0)),
    "comparisons of maps": lambda maps: torch.where(maps > 0, maps, maps * (maps >= 1)),
    "clamp": lambda maps: maps.clamp(min=torch.tensor(0.0)),
    "SwishBackward": lambda maps: Swish.apply(maps),
}
"""Networks with other activations too, by the names that these are refused by."""


def _gated(maps: Tensor) -> Tensor:
    """Gates of channels, of positions, and of channels that are expanded."""
    maps = maps.relu()
    means = maps.mean((2, 3))
    maps = maps * means.sigmoid()[:, :, None, None]
    maps = maps * maps.mean(1, keepdim=True).sigmoid()
    return maps * means[:, :, None, None].sigmoid().expand_as(maps)


ALLOWED: dict[str, Activation] = {
    "gates": _gated,
    "local response norm": lambda maps: functional.local_response_norm(maps.relu(), 3),
    "instance norm by hand": lambda maps: (
        (maps - maps.mean((2, 3), keepdim=True)).relu()
        * (maps.var((2, 3), keepdim=True) + 1e-5).rsqrt()
    ),
    "sum of squares": lambda maps: maps.relu() / (maps * maps).sum(1, keepdim=True).add(1).sqrt(),
    "generalised mean": lambda maps: maps.relu().clamp(min=1e-6).pow(3),
    "masked by a constant": lambda maps: torch.where(
        torch.arange(maps.shape[-1]) > 2, maps.relu(), maps.new_zeros(1)
    ),
    "largest of a dimension": lambda maps: maps.relu() - maps.max(1, keepdim=True).values,
    "amplitudes": lambda maps: torch.fft.fft2(maps.relu()).abs(),
    "not a number": lambda maps: torch.where(maps.isnan(), 0.0, maps).relu(),
}
"""Activations around which a ReLU is the only one."""
