"""The tensor codec: what goes in comes out, and what does not fit is refused with its field."""

import numpy as np
import pytest
from numpy.typing import NDArray

from expound.tensors import TensorError, check_tensor, from_tensor, to_tensor
from expound.v1 import tensor_pb2

ARRAYS = [
    np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4),
    np.linspace(-1, 1, 24, dtype=np.float16).reshape(24),
    np.linspace(-1, 1, 24, dtype=np.float64).reshape(4, 6),
    np.arange(24, dtype=np.uint8).reshape(1, 24),
    np.arange(-12, 12, dtype=np.int32).reshape(2, 2, 6),
    np.array(3.5, dtype=np.float32),
    np.array([np.nan, np.inf, -np.inf, -0.0], dtype=np.float32),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_an_array_comes_back_as_it_was(array: NDArray[np.generic]) -> None:
    wire = to_tensor(array).SerializeToString()
    back = from_tensor(tensor_pb2.Tensor.FromString(wire))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_bytes_are_little_endian_and_row_major() -> None:
    tensor = to_tensor(np.array([[1, 2], [3, 4]], dtype=np.int32))
    assert tensor.data == bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0])
    assert list(tensor.shape) == [2, 2]
    assert tensor.dtype == tensor_pb2.DATA_TYPE_INT32


def test_a_big_endian_array_that_is_not_contiguous_is_packed_rightly() -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4).T[::2]
    np.testing.assert_array_equal(from_tensor(to_tensor(array)), array)


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64", "U3", "object"])
def test_an_array_of_a_type_without_a_name_is_refused(dtype: str) -> None:
    with pytest.raises(TensorError, match="is not one of") as caught:
        to_tensor(np.zeros(2, dtype=dtype))
    assert caught.value.field == "dtype"


@pytest.mark.parametrize(
    ("dtype", "shape", "byte_count", "field"),
    [
        (tensor_pb2.DATA_TYPE_UNSPECIFIED, [2], 8, "dtype"),
        (99, [2], 8, "dtype"),
        (tensor_pb2.DATA_TYPE_FLOAT32, [0], 0, "shape"),
        (tensor_pb2.DATA_TYPE_FLOAT32, [1] * 5, 4, "shape"),
        (tensor_pb2.DATA_TYPE_FLOAT32, [2**62] * 100_000, 4, "shape"),
        (tensor_pb2.DATA_TYPE_FLOAT32, [2, -1], 8, "shape"),
        (tensor_pb2.DATA_TYPE_FLOAT32, [-2, -1], 8, "shape"),
        (tensor_pb2.DATA_TYPE_FLOAT32, [2], 7, "data"),
        (tensor_pb2.DATA_TYPE_FLOAT32, [2], 12, "data"),
        (tensor_pb2.DATA_TYPE_FLOAT32, [], 0, "data"),
        (tensor_pb2.DATA_TYPE_UINT8, [2**40, 2**40], 1, "data"),
    ],
)
def test_a_tensor_that_does_not_fit_together_is_refused(
    dtype: tensor_pb2.DataType.ValueType, shape: list[int], byte_count: int, field: str
) -> None:
    tensor = tensor_pb2.Tensor(dtype=dtype, shape=shape, data=bytes(byte_count))
    for read in (check_tensor, from_tensor):
        with pytest.raises(TensorError) as caught:
            read(tensor)
        assert caught.value.field == field
        assert caught.value.description == str(caught.value)


def test_an_unpacked_array_cannot_be_changed() -> None:
    array = from_tensor(to_tensor(np.zeros(2, dtype=np.float32)))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
