"""Encoded images and raw tensors to what enters the network."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from expound.reasons import Reason
from expound.tensors import TensorError, from_tensor
from expound.v1 import explanation_pb2
from expound_worker.decoding.errors import DecodeError
from expound_worker.methods.method import MethodError
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.threads import compute_on

Decode = Callable[[bytes], Image.Image]
"""Decodes an image to upright RGB. Raises DecodeError."""


class InputError(MethodError):
    """An input cannot be read; knows the path of the field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(Reason.INVALID_IMAGE, f"{field}: {message}", field=field)
        self.field = field


class Reader:
    """Reads the inputs of requests side by side."""

    def __init__(self, decode: Decode, threads: int) -> None:
        """Makes one.

        Args:
            decode: decodes an encoded image.
            threads: how many inputs are read at once.
        """
        self._decode = decode
        self._pool = ThreadPoolExecutor(threads, "reader", initializer=compute_on, initargs=(1,))

    def read(
        self, requests: Sequence[explanation_pb2.ExplainRequest], preprocessing: Preprocessing
    ) -> Sequence[Sequence[Callable[[], Tensor]]]:
        """Begins to read; of each request, gives what waits for each input, or raises InputError.

        A single input is read by who asks for it: that takes no hop from thread to thread.
        """
        reading = [
            [
                partial(prepare, source, number, preprocessing, self._decode)
                for number, source in enumerate(request.inputs)
            ]
            for request in requests
        ]
        if sum(map(len, reading)) == 1:
            return reading
        return [[self._pool.submit(read).result for read in some] for some in reading]

    def close(self) -> None:
        """Ends its threads."""
        self._pool.shutdown()


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


def digest(source: explanation_pb2.Input) -> str:
    """SHA-256 of an input as it was sent, hexadecimal."""
    sent = source.image if source.WhichOneof("input") == "image" else source.tensor.data
    return hashlib.sha256(sent).hexdigest()
