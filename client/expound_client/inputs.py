"""What a user calls an image, as `Input` messages."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from expound.tensors import to_tensor
from expound.v1 import explanation_pb2
from expound_client.errors import InvalidArgumentError
from expound_client.images import to_rgb

ImageLike: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]
"""One image: the path of an image file, the bytes of one, a PIL image, a uint8 array (H, W, 3) or
(H, W), or a floating array (C, H, W) that enters the network as it is, in model input units."""

# The modes of Pillow that a PNG keeps as they are.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def to_inputs(images: ImageLike | Sequence[ImageLike]) -> list[explanation_pb2.Input]:
    """Makes the messages of one image, or of a list or tuple of them.

    Raises:
        InvalidArgumentError: something is no image; names it, as `inputs[2]`.
        OSError: a file cannot be read.
    """
    several = images if isinstance(images, list | tuple) else [cast(ImageLike, images)]
    return [to_input(image, f"inputs[{index}]") for index, image in enumerate(several)]


def to_input(image: ImageLike, field: str = "image") -> explanation_pb2.Input:
    """Makes the message of one image; raises as `to_inputs`."""
    if isinstance(image, str | os.PathLike):
        return explanation_pb2.Input(image=Path(image).read_bytes())
    if isinstance(image, bytes | bytearray | memoryview):
        return explanation_pb2.Input(image=bytes(image))
    if isinstance(image, Image.Image):
        return explanation_pb2.Input(image=_png(image))
    if isinstance(image, np.ndarray):
        return explanation_pb2.Input(tensor=to_tensor(_checked(image, field)))
    raise InvalidArgumentError.of(
        field, f"must be a path, bytes, a PIL image or an array, not a {type(image).__name__}"
    )


def _png(image: Image.Image) -> bytes:
    """Without loss, and quickly rather than small; upright, for a PNG may lose the EXIF tag."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode not in _PNG_MODES:
        upright = to_rgb(upright)
    buffer = io.BytesIO()
    upright.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _checked(array: NDArray[Any], field: str) -> NDArray[Any]:
    """An array as the contract takes it: uint8 image, or float32 model input."""
    if array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        return array
    if array.dtype.kind == "f" and array.ndim == 3:
        return array.astype(np.float32)
    raise InvalidArgumentError.of(
        f"{field}.tensor",
        "must be an image, uint8 of shape (H, W, 3) or (H, W), or a preprocessed input of the "
        f"network, floating of shape (C, H, W), not {array.dtype} of shape {array.shape}",
    )
