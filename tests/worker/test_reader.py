"""Inputs that are read side by side are those that are read one by one."""

import io
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from expound.tensors import to_tensor
from expound.v1 import explanation_pb2
from expound_worker.decoding import pixels
from expound_worker.decoding.decoder import Decoder
from expound_worker.images import InputError, Reader, prepare
from expound_worker.models.preprocessing import Preprocessing

PHOTO = Image.fromarray(skimage.data.coffee())
PREPROCESSING = Preprocessing((3, 24, 24), 32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with closing(Decoder()) as decoder, closing(Reader(decoder, threads=3)) as reader:
        yield reader


def photo(number: int) -> bytes:
    buffer = io.BytesIO()
    PHOTO.crop((number, 0, 200 + number, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


def request(*numbers: int) -> explanation_pb2.ExplainRequest:
    """One of photos with tensors between them."""
    asked = explanation_pb2.ExplainRequest()
    for number in numbers:
        asked.inputs.add(image=photo(number))
        if number % 3 == 0:
            values = np.full((3, 24, 24), number, np.float32)
            asked.inputs.add(tensor=to_tensor(values))
    return asked


def one_by_one(asked: explanation_pb2.ExplainRequest) -> list[torch.Tensor]:
    return [
        prepare(source, number, PREPROCESSING, pixels.decode)
        for number, source in enumerate(asked.inputs)
    ]


@pytest.mark.parametrize("numbers", [[(1,)], [(1, 2)], [(0, 1, 2), (3,), tuple(range(4, 40))]])
def test_the_inputs_of_each_request_are_read_in_their_order(
    reader: Reader, numbers: list[tuple[int, ...]]
) -> None:
    requests = [request(*some) for some in numbers]
    for asked, inputs in zip(requests, reader.read(requests, PREPROCESSING), strict=True):
        assert not isinstance(inputs, Exception)
        for read, expected in zip(inputs, one_by_one(asked), strict=True):
            assert torch.equal(read, expected)


def test_a_bad_input_fails_its_own_request_alone(reader: Reader) -> None:
    good, bad, other = request(1, 2, 3), request(*range(20)), request(4)
    bad.inputs[5].image = b"no image"
    bad.inputs[9].image = b"nor this"
    before, failed, behind = reader.read([good, bad, other], PREPROCESSING)
    assert isinstance(failed, InputError)
    assert failed.field == "inputs[5].image"
    assert not isinstance(before, Exception)
    assert not isinstance(behind, Exception)
    assert (len(before), len(behind)) == (4, 1)
    assert torch.equal(behind[0], one_by_one(other)[0])
