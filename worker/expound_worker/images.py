"""Encoded images and raw tensors to what enters the network."""

import hashlib
import io
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from expound.reasons import Reason
from expound.tensors import TensorError, from_tensor
from expound.v1 import explanation_pb2
from expound_worker.methods.method import MethodError
from expound_worker.models.preprocessing import Preprocessing

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 50_000_000
_TOO_LARGE = f"more than the {MAX_PIXELS:,} pixels allowed; scale it down before sending it"


class InputError(MethodError):
    """An input cannot be read; knows the path of the field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(Reason.INVALID_IMAGE, f"{field}: {message}", field=field)
        self.field = field


def prepare(source: explanation_pb2.Input, index: int, preprocessing: Preprocessing) -> Tensor:
    """Turns one input of a request into what enters the network.

    Args:
        source: an encoded image, a UINT8 image tensor or a FLOAT32 model input.
        index: its index in the request, for errors.
        preprocessing: that of the model.

    Returns:
        (C, H, W) float32 in model input units.

    Raises:
        InputError: it is not an image, is too large, or does not fit the model.
    """
    if source.WhichOneof("input") == "image":
        field = f"inputs[{index}].image"
        return _preprocess(decode(source.image, field), field, preprocessing)
    field = f"inputs[{index}].tensor"
    try:
        array = from_tensor(source.tensor)
    except TensorError as error:
        raise InputError(f"{field}.{error.field}", error.description) from error
    if array.dtype == np.uint8:
        image = Image.fromarray(array.astype(np.uint8)).convert("RGB")
        return _preprocess(image, field, preprocessing)
    if array.shape != preprocessing.input_shape:
        wanted = list(preprocessing.input_shape)
        raise InputError(f"{field}.shape", f"must be {wanted}, not {list(array.shape)}")
    return torch.from_numpy(array.astype(np.float32))


def decode(encoded: bytes, field: str) -> Image.Image:
    """Decodes an image to upright RGB; of an animation, its first frame.

    Transparency is put over white, 16 bits are scaled to 8.

    Raises:
        InputError: it is none of `FORMATS`, is damaged, or has more than `MAX_PIXELS` pixels,
            which is told from its header before anything is decoded.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images before it refuses larger ones; the limit here is ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise InputError(field, _TOO_LARGE)
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise InputError(field, _TOO_LARGE) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        allowed = ", ".join(FORMATS)
        raise InputError(field, f"not a readable image ({allowed}): {error}") from error


def _preprocess(image: Image.Image, field: str, preprocessing: Preprocessing) -> Tensor:
    try:
        return preprocessing(image)
    except ValueError as error:
        raise InputError(field, str(error)) from error


def digest(source: explanation_pb2.Input) -> str:
    """SHA-256 of an input as it was sent, hexadecimal."""
    sent = source.image if source.WhichOneof("input") == "image" else source.tensor.data
    return hashlib.sha256(sent).hexdigest()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_16_bits(image).convert("RGB")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        white = Image.new("RGBA", transparent.size, "white")
        return Image.alpha_composite(white, transparent).convert("RGB")
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, which Pillow would clip at 255 rather than scale."""
    values = np.asarray(image, dtype=np.float64)
    scale = 255.0 if image.mode == "F" and values.max(initial=0) <= 1 else 255.0 / 65535.0
    return Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8))
