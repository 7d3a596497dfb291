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
