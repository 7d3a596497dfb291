"""Networks whose rectifiers are written in all the ways that people write them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from tests.numeric.models import make_model

Activation = Callable[[Tensor], Tensor]


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
}
