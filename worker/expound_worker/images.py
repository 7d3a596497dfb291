"""Encoded images and raw tensors to what enters the network."""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from expound.reasons import Reason
from expound.tensors import TensorError, from_tensor
from expound.v1 import explanation_pb2, tensor_pb2
from expound_worker.decoding.errors import DecodeError
from expound_worker.methods.method import MethodError
from expound_worker.models.preprocessing import Preprocessing

Decode = Callable[[bytes], Image.Image]
"""Decodes an image to upright RGB. Raises DecodeError."""


class InputError(MethodError):
    """An input cannot be read; knows the path of the field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(Reason.INVALID_IMAGE, f"{field}: {message}", field=field)
        self.field = field


def prepare(
    source: explanation_pb2.Input, index: int, preprocessing: Preprocessing, decode: Decode
) -> Tensor:
    """Turns one input of a request into what enters the network.

    Args:
        source: an encoded image, a UINT8 image tensor or a FLOAT32 model input.
        index: its index in the request, for errors.
        preprocessing: that of the model.
        decode: decodes an encoded image.

    Returns:
        (C, H, W) float32 in model input units.

    Raises:
        InputError: it is not an image, is too large, or does not fit the model.
    """
    if source.WhichOneof("input") == "image":
        field = f"inputs[{index}].image"
        try:
            image = decode(source.image)
        except DecodeError as error:
            raise InputError(field, str(error)) from error
        return _preprocess(image, field, preprocessing)
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


def _preprocess(image: Image.Image, field: str, preprocessing: Preprocessing) -> Tensor:
    try:
        return preprocessing(image)
    except ValueError as error:
        raise InputError(field, str(error)) from error


def doubts(source: explanation_pb2.Input, index: int, preprocessing: Preprocessing) -> list[str]:
    """What makes an input that can be read an unlikely one; takes what `prepare` does.

    That is a model input that reaches beyond the values of images by more than their whole range:
    noise, or a patch that is made to deceive, seldom does, and pixels from 0 to 255 do.
    """
    if source.tensor.dtype != tensor_pb2.DATA_TYPE_FLOAT32:
        return []
    values = from_tensor(source.tensor)
    least, largest = float(values.min()), float(values.max())
    low, high = preprocessing.limits()
    if least >= 2 * low - high and largest <= 2 * high - low:
        return []
    return [
        f"inputs[{index}].tensor reaches from {least:.3g} to {largest:.3g}, where images that the "
        f"worker preprocesses reach from {low:.3g} to {high:.3g}: floats enter the network as they "
        "are; send the encoded image or uint8 pixels, or preprocess as the model's card says"
    ]


def digest(source: explanation_pb2.Input) -> str:
    """SHA-256 of an input as it was sent, hexadecimal."""
    sent = source.image if source.WhichOneof("input") == "image" else source.tensor.data
    return hashlib.sha256(sent).hexdigest()
