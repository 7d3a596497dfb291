"""How an image becomes what enters the network, exactly as the model's entry says."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from expound.preprocessing import center_crop, resized

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
INTERPOLATIONS = tuple(_RESAMPLING)
MAX_RESIZED_PIXELS = 50_000_000


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop and normalise, as torchvision's transforms of those names on PIL images.

    Attributes:
        input_shape: (C, H, W); C is 3 (RGB) or 1 (grey).
        resize: length to which the shorter side is brought first; None: the image is resized to
            the input's height and width, and nothing is cropped.
        mean: subtracted from each channel, in [0, 1].
        std: by which each channel is then divided.
        interpolation: one of `INTERPOLATIONS`.
    """

    input_shape: tuple[int, int, int]
    resize: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"

    def __call__(self, image: Image.Image) -> Tensor:
        """Turns an RGB image into an input (C, H, W) float32, in model input units.

        It is contiguous, as networks with a `view` of their input expect.

        Raises ValueError when the image is so long and thin that it would be resized to more than
        `MAX_RESIZED_PIXELS`.
        """
        channels, height, width = self.input_shape
        if channels == 1:
            image = image.convert("L")
        resampling = _RESAMPLING[self.interpolation]
        if self.resize is None:
            image = image.resize((width, height), resampling)
        else:
            image = _resize_shorter_side(image, self.resize, resampling)
            image = image.crop(center_crop(image.size, (width, height)))
        pixels = np.asarray(image, dtype=np.uint8).reshape(height, width, channels)
        # By NumPy, which takes half as long over a small image as torch does.
        values = np.divide(pixels.transpose(2, 0, 1), 255, dtype=np.float32, order="C")
        values -= self._mean
        values /= self._std
        return torch.from_numpy(values)

    def normalize_color(self, color: tuple[float, ...]) -> Tensor:
        """Model input units (C, 1, 1) of a colour given in [0, 1] by channel."""
        channels = self.input_shape[0]
        return torch.from_numpy((_per_channel(color[:channels]) - self._mean) / self._std)

    def limits(self) -> tuple[float, float]:
        """The least and the largest value of any image, over all channels, in model input units."""
        return float((-self._mean / self._std).min()), float(((1 - self._mean) / self._std).max())

    def describe(self) -> str:
        """What it does, in words."""
        _, height, width = self.input_shape
        size = f"{width}x{height}"
        shape = (
            f"resize to {size}"
            if self.resize is None
            else f"resize the shorter side to {self.resize}, crop the centre {size}"
        )
        mean = ", ".join(f"{value:.6g}" for value in self.mean)
        std = ", ".join(f"{value:.6g}" for value in self.std)
        return f"{shape} ({self.interpolation}), scale to [0, 1], mean ({mean}), std ({std})"

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        return _per_channel(self.mean)

    @cached_property
    def _std(self) -> NDArray[np.float32]:
        return _per_channel(self.std)


def _per_channel(values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)[:, None, None]


def _resize_shorter_side(
    image: Image.Image, length: int, resampling: Image.Resampling
) -> Image.Image:
    size = resized(image.size, length)
    if size[0] * size[1] > MAX_RESIZED_PIXELS:
        raise ValueError(
            f"{image.width}x{image.height} is too long and thin to be resized and cropped"
        )
    return image.resize(size, resampling)
