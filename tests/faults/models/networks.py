"""Networks of the fault suite."""

import os
import signal
import time

import torch
from torch import Tensor, nn

LARGEST_BATCH = 4
SLOW_S = 0.005


def cifar() -> nn.Module:
    """The small network of the CIFAR-10 tutorials."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


class Deadly(nn.Module):
    """Kills its process on a white image, as a fault of a driver would."""

    def __init__(self) -> None:
        super().__init__()
        self.network = cifar()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        if bool((images > 0.999).flatten(1).all(dim=1).any()):
            self.fail()
        logits: Tensor = self.network(images)
        return torch.nan_to_num(logits)

    def fail(self) -> None:
        """Ends the process."""
        os.kill(os.getpid(), signal.SIGKILL)


class Faulty(Deadly):
    """Fails on a white image as a kernel does that reads where it may not: the device is lost."""

    def fail(self) -> None:
        """Raises what torch raises then."""
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


class Brittle(nn.Module):
    """Raises an error where a white image is in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.network = cifar()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        if bool((images > 0.999).flatten(1).all(dim=1).any()):
            raise ValueError("a white image")
        logits: Tensor = self.network(images)
        return logits


class Cramped(nn.Module):
    """Has memory for four equal images at a time, and for none that is white.

    Those that a worker tries at load differ, and fit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = cifar()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        white = bool((images > 0.999).flatten(1).all(dim=1).any())
        too_many = len(images) > LARGEST_BATCH and torch.equal(images[0], images[1])
        if too_many or white:
            raise torch.OutOfMemoryError("out of memory, as a test wants it")
        logits: Tensor = self.network(images)
        return logits


class Slow(nn.Module):
    """Takes as long for each image on whatever machine, so that its jobs can be disturbed."""

    def __init__(self) -> None:
        super().__init__()
        self.network = cifar()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        time.sleep(SLOW_S * len(images))
        logits: Tensor = self.network(images)
        return logits
