"""Networks of the tests' own, found by workers beside models.toml."""

from torch import Tensor, nn
from torch.nn import functional


class Cifar(nn.Module):
    """The network of the Captum tutorial: two 5x5 convolutions, three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.pool(functional.relu(self.conv1(inputs)))
        maps = self.pool(functional.relu(self.conv2(maps)))
        hidden = functional.relu(self.fc1(maps.flatten(1)))
        logits: Tensor = self.fc3(functional.relu(self.fc2(hidden)))
        return logits


def cifar() -> nn.Module:
    return Cifar()


def perceptron() -> nn.Module:
    """A network with no layer whose output is a map."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))


class Handwritten(nn.Module):
    """What users write: views, functions for modules, a block that runs twice, sums in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.block = nn.Conv2d(16, 16, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(16 * 4 * 4, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.view(len(inputs), -1)  # fails on what is not contiguous
        maps = functional.relu(self.stem(rows.view(-1, 3, 32, 32)))
        maps = functional.max_pool2d(maps, 4)
        for _ in range(2):
            branch = self.block(maps)
            branch += maps
            maps = self.relu(branch)
        maps = functional.avg_pool2d(maps, 2)
        logits: Tensor = self.head(maps.view(len(maps), -1))
        return logits


def handwritten() -> nn.Module:
    return Handwritten()


class TwoHeads(nn.Module):
    """Gives a class and a box."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Linear(192, 10)
        self.box = nn.Linear(192, 4)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        pixels = inputs.flatten(1)
        return self.classes(pixels), self.box(pixels)


def two_heads() -> nn.Module:
    return TwoHeads()
