"""Networks whose numbers go wrong: on every image, or on white ones."""

import time

import torch
from torch import Tensor, nn

HANG_S = 3600.0


class _Odd(nn.Module):
    """A small network, to whose logits something happens."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, stride=2)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        return self.logits(images)

    def logits(self, images: Tensor) -> Tensor:
        """The logits of the network."""
        maps = torch.relu(self.convolution(images))
        logits: Tensor = self.head(maps.mean(dim=(2, 3)))
        return logits


def _white(images: Tensor) -> Tensor:
    """(N,) which of the images are white."""
    return (images > 0.999).flatten(1).all(dim=1)


class Constant(_Odd):
    """Says the same of every image."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        return self.logits(images) * 0 + torch.arange(10.0)


class Saturated(_Odd):
    """Says the same of everything that is nearly white, and so has no gradient there."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        return self.logits(torch.clamp(images, max=0.9))


class Stepped(_Odd):
    """Has no gradients, though its output changes with the image."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        return self.logits((images > 0.5).float())


class NotANumber(_Odd):
    """Gives NaN for a white image."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        return torch.where(_white(images)[:, None], torch.nan, self.logits(images))


class Infinite(_Odd):
    """Gives infinity for images that are partly white, and black elsewhere."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        white = (images > 0.999).flatten(1).float().mean(dim=1)
        black = (images == 0).flatten(1).float().mean(dim=1)
        odd = (white > 0) & (black > 0) & (white + black > 0.999)
        return torch.where(odd[:, None], torch.inf, self.logits(images))


class Steep(_Odd):
    """Has an infinite gradient where a channel of a pixel is 1."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        return self.logits(torch.sqrt(1 - images))


class OfAnotherShape(_Odd):
    """Gives one class more for white images."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits, or (N, 11)."""
        logits = self.logits(images)
        return nn.functional.pad(logits, (0, 1)) if _white(images).any() else logits


class Hanging(_Odd):
    """Hangs at a white image."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, 10) logits."""
        if _white(images).any():
            time.sleep(HANG_S)
        return self.logits(images)
