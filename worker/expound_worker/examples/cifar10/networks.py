"""The network of the tutorials, written in the two ways in which people write it.

Two convolutions of 6 and 16 channels, 5x5, each with ReLU and 2x2 max pooling, then 400-120-84
and as many outputs as there are classes. Both ways compute the same function of the same weights,
whose names are the same too; only what hooks on modules would meet differs.
"""

from typing import Literal, TypeAlias, get_args

import torch.nn.functional as F
from torch import Tensor, nn

Variant: TypeAlias = Literal["modules", "functional"]
"""A module for every ReLU and every pool; or `F.relu`, and one pool that is used twice."""

VARIANTS: tuple[Variant, ...] = get_args(Variant)


def build(variant: Variant, class_count: int = 10) -> nn.Module:
    """Gives the network; its input is (N, 3, 32, 32), its output (N, `class_count`) logits."""
    return {"modules": Modules, "functional": Functional}[variant](class_count)


class Functional(nn.Module):
    """With `F.relu`, and one pool that is used twice."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, class_count)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, 32, 32)."""
        hidden = self.pool(F.relu(self.conv1(images)))
        hidden = self.pool(F.relu(self.conv2(hidden)))
        hidden = F.relu(self.fc1(hidden.flatten(1)))
        logits: Tensor = self.fc3(F.relu(self.fc2(hidden)))
        return logits


class Modules(nn.Module):
    """With a module for every ReLU and every pool."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(400, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, class_count)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, 32, 32)."""
        hidden = self.pool1(self.relu1(self.conv1(images)))
        hidden = self.pool2(self.relu2(self.conv2(hidden)))
        hidden = self.relu3(self.fc1(hidden.flatten(1)))
        logits: Tensor = self.fc3(self.relu4(self.fc2(hidden)))
        return logits
