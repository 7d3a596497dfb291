"""NumPy arrays to and from `Tensor` messages."""

import math

import numpy as np
from numpy.typing import NDArray

from expound.v1 import tensor_pb2

_DTYPES: dict[tensor_pb2.DataType.ValueType, np.dtype[np.generic]] = {
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    tensor_pb2.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    tensor_pb2.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    tensor_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    tensor_pb2.DATA_TYPE_INT32: np.dtype("<i4"),
}
_MOST_AXES = 4
_DATA_TYPES = {dtype: data_type for data_type, dtype in _DTYPES.items()}


class TensorError(ValueError):
    """A tensor's dtype, shape and bytes do not fit together; says which and how."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(description)
        self.field = field
        self.description = description


def to_tensor(array: NDArray[np.generic]) -> tensor_pb2.Tensor:
    """Packs an array. Raises TensorError for a dtype that the contract has no name for."""
    data_type = _DATA_TYPES.get(array.dtype.newbyteorder("<"))
    if data_type is None:
        allowed = ", ".join(str(dtype) for dtype in _DTYPES.values())
        raise TensorError("dtype", f"{array.dtype} is not one of {allowed}")
    little_endian = np.ascontiguousarray(array, dtype=_DTYPES[data_type])
    return tensor_pb2.Tensor(dtype=data_type, shape=array.shape, data=little_endian.tobytes())


def check_tensor(tensor: tensor_pb2.Tensor) -> None:
    """Raises TensorError unless the tensor's dtype, shape and number of bytes agree."""
    if tensor.dtype not in _DTYPES:
        names = ", ".join(tensor_pb2.DataType.Name(data_type) for data_type in _DTYPES)
        raise TensorError("dtype", f"must be one of {names}")
    if len(tensor.shape) > _MOST_AXES:
        raise TensorError("shape", f"must have {_MOST_AXES} axes at most, not {len(tensor.shape)}")
    if any(length < 1 for length in tensor.shape):
        raise TensorError("shape", f"every length must be at least 1, not {list(tensor.shape)}")
    expected = math.prod(tensor.shape) * _DTYPES[tensor.dtype].itemsize
    if len(tensor.data) != expected:
        raise TensorError(
            "data",
            f"{len(tensor.data)} bytes do not fit shape {list(tensor.shape)} of "
            f"{tensor_pb2.DataType.Name(tensor.dtype)}, which takes {expected}",
        )


def from_tensor(tensor: tensor_pb2.Tensor) -> NDArray[np.generic]:
    """Unpacks a tensor into a read-only array. Raises TensorError as `check_tensor` does."""
    check_tensor(tensor)
    return np.frombuffer(tensor.data, dtype=_DTYPES[tensor.dtype]).reshape(tuple(tensor.shape))
