"""Images, targets and methods of all kinds become one request."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from expound.tensors import from_tensor
from expound.v1 import tensor_pb2
from expound_client.errors import InvalidArgumentError
from expound_client.images import decode
from expound_client.inputs import to_inputs
from expound_client.requests import to_method
from expound_client.targets import to_target
from tests.client import canned


def test_a_path_and_bytes_are_sent_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(canned.png())
    sent = to_inputs((path, str(path), canned.png()))
    assert [each.image for each in sent] == [canned.png()] * 3
    views: list[Any] = [bytearray(canned.png()), memoryview(canned.png())]
    assert [each.image for each in to_inputs(views)] == [canned.png()] * 2


def test_a_missing_file_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        to_inputs("no such file.jpg")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_a_pil_image_arrives_without_loss(mode: str) -> None:
    image = canned.photo().convert(mode)
    (sent,) = to_inputs(image)
    expected = image.convert("RGB")
    assert np.array_equal(np.asarray(decode(sent.image)), np.asarray(expected))


def test_a_sixteen_bit_image_is_scaled_and_not_clipped() -> None:
    values = np.linspace(0, 65535, 64).reshape(8, 8)
    expected = np.round(values / 257)
    for image in (
        Image.fromarray(values.astype(np.uint16)),
        Image.fromarray(values.astype(np.int32)),
    ):
        (sent,) = to_inputs(image)
        assert np.abs(np.asarray(decode(sent.image))[..., 0] - expected).max() <= 1


def test_a_pil_image_is_sent_upright() -> None:
    image = canned.photo()
    image.getexif()[0x0112] = 6  # Orientation: to be turned by 90 degrees.
    (sent,) = to_inputs(image)
    assert decode(sent.image).size == (12, 24)


def test_an_array_of_uint8_is_sent_as_an_image_tensor() -> None:
    color, gray = np.asarray(canned.photo()), np.asarray(canned.photo().convert("L"))
    first, second = to_inputs([color, gray])
    assert first.tensor.dtype == tensor_pb2.DATA_TYPE_UINT8
    assert np.array_equal(from_tensor(first.tensor), color)
    assert np.array_equal(from_tensor(second.tensor), gray)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_floating_array_is_sent_as_a_model_input(dtype: type[np.floating]) -> None:
    (sent,) = to_inputs(np.ones((3, 8, 8), dtype))
    assert sent.tensor.dtype == tensor_pb2.DATA_TYPE_FLOAT32
    assert list(sent.tensor.shape) == [3, 8, 8]


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.int64), np.zeros((8, 8)), 7]
)
def test_what_is_no_image_is_refused_by_its_index(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"inputs\[1\]"):
        to_inputs([canned.png(), wrong])


def test_a_target_is_the_best_classes_or_an_index_or_a_label() -> None:
    assert to_target("top1").top_k == 1
    assert to_target("top12").top_k == 12
    assert to_target(281).class_index == 281
    assert to_target(np.int64(0)).HasField("class_index")
    assert to_target("tabby").label == "tabby"
    assert to_target("top hat").label == "top hat"


@pytest.mark.parametrize("wrong", ["top0", -1, 1.5, None])
def test_another_target_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="target"):
        to_target(wrong)


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgumentError, match=r"methods\[2\].*saliency.*rise.*'limes'"):
        to_method("limes", "methods[2]")
