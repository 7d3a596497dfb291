"""Images as the network saw them: decoded, upright, resized and cropped as the worker does it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from expound.preprocessing import center_crop, resized
from expound.tensors import from_tensor
from expound.v1 import explanation_pb2
from expound_client.errors import ExpoundError
from expound_client.models import Model, Preprocessing

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class SeenImage:
    """One input of a request, as the network saw it.

    Attributes:
        source: the input as it was sent; None where the client did not send it.
        model: card of the model; None where no worker serves it any more.
    """

    source: explanation_pb2.Input | None
    model: Model | None

    @property
    def known(self) -> bool:
        """Whether there is all that the picture needs."""
        return self.source is not None and self.model is not None and self._steps is not None

    @cached_property
    def image(self) -> Image.Image:
        """The RGB image, of the model's input height and width.

        Raises:
            ExpoundError: the image, or the model's preprocessing, is not known.
        """
        if self.source is None:
            raise ExpoundError(
                "the image is not known here, for it was sent by another client; give it to "
                "overlay(image=…)"
            )
        if self.model is None or self._steps is None:
            raise ExpoundError("the model's card does not tell how its images are preprocessed")
        if self.source.WhichOneof("input") == "image":
            return _as_seen(decode(self.source.image), self.model.input_shape, self._steps)
        array = from_tensor(self.source.tensor)
        if array.dtype == np.uint8:
            image = Image.fromarray(array.astype(np.uint8)).convert("RGB")
            return _as_seen(image, self.model.input_shape, self._steps)
        return _denormalized(array.astype(np.float32), self._steps)

    @property
    def _steps(self) -> Preprocessing | None:
        return self.model.preprocessing if self.model else None


class SeenImages:
    """The inputs of a request, as the network saw them, by their index."""

    def __init__(self, sources: Sequence[explanation_pb2.Input], model: Model | None) -> None:
        self._sources = sources
        self._model = model
        self._images: dict[int, SeenImage] = {}

    def __getitem__(self, index: int) -> SeenImage:
        """One input; one whose source is not known where the client did not send it."""
        if index not in self._images:
            source = self._sources[index] if index < len(self._sources) else None
            self._images[index] = SeenImage(source, self._model)
        return self._images[index]


def decode(encoded: bytes) -> Image.Image:
    """Decodes an image file to upright RGB."""
    return to_rgb(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))


def to_rgb(image: Image.Image) -> Image.Image:
    """Brings an image to RGB: transparency over white, 16 bits scaled to 8."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_16_bits(image).convert("RGB")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        white = Image.new("RGBA", transparent.size, "white")
        return Image.alpha_composite(white, transparent).convert("RGB")
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=np.float64)
    scale = 255.0 if image.mode == "F" and values.max(initial=0) <= 1 else 255.0 / 65535.0
    return Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8))


def _as_seen(
    image: Image.Image, input_shape: tuple[int, ...], preprocessing: Preprocessing
) -> Image.Image:
    channels, height, width = input_shape
    if channels == 1:
        image = image.convert("L").convert("RGB")
    resampling = _RESAMPLING.get(preprocessing.interpolation, Image.Resampling.BILINEAR)
    if preprocessing.resize == 0:
        return image.resize((width, height), resampling)
    image = image.resize(resized(image.size, preprocessing.resize), resampling)
    return image.crop(center_crop(image.size, (width, height)))


def _denormalized(array: NDArray[np.float32], preprocessing: Preprocessing) -> Image.Image:
    """The picture of a model input (C, H, W)."""
    mean = np.reshape(preprocessing.mean or (0.0,), (-1, 1, 1))
    std = np.reshape(preprocessing.std or (1.0,), (-1, 1, 1))
    pixels = np.clip((array * std + mean) * 255, 0, 255).round().astype(np.uint8)
    if len(pixels) == 3:
        return Image.fromarray(np.moveaxis(pixels, 0, -1).copy())
    return Image.fromarray(pixels[0]).convert("RGB")
