"""What tensors in a request must be."""

from collections.abc import Iterator, Sequence

import numpy as np

from expound.parameters import Violation
from expound.tensors import TensorError, check_tensor, from_tensor
from expound.v1 import tensor_pb2

_FLOAT32 = tensor_pb2.DATA_TYPE_FLOAT32
_FLOAT64 = tensor_pb2.DATA_TYPE_FLOAT64
_UINT8 = tensor_pb2.DATA_TYPE_UINT8
_INT32 = tensor_pb2.DATA_TYPE_INT32


def input_violations(tensor: tensor_pb2.Tensor, path: str) -> Iterator[Violation]:
    """Raw inputs are UINT8 images, (H, W, 3) or (H, W), or finite FLOAT32 of any shape."""
    yield from _tensor_violations(tensor, path, (_UINT8, _FLOAT32))
    is_image = len(tensor.shape) == 2 or (len(tensor.shape) == 3 and tensor.shape[2] == 3)
    if tensor.dtype == _UINT8 and not is_image:
        yield Violation(
            f"{path}.shape", f"an image of UINT8 is (H, W, 3) or (H, W), not {_text(tensor.shape)}"
        )


def model_input_violations(
    tensor: tensor_pb2.Tensor, path: str, input_shape: Sequence[int]
) -> Iterator[Violation]:
    """FLOAT32 inputs enter the network as they are: they have its input shape (C, H, W)."""
    for violation in shape_violations(tensor, path, input_shape):
        yield Violation(
            violation.field,
            f"{violation.description}: FLOAT32 enters the network as it is, resized and "
            "preprocessed; an image is UINT8, (H, W, 3) or (H, W)",
        )


def baseline_violations(
    tensor: tensor_pb2.Tensor, path: str, input_shape: Sequence[int]
) -> Iterator[Violation]:
    """Baselines are finite FLOAT32 or FLOAT64 of the model's input shape (C, H, W)."""
    yield from _tensor_violations(tensor, path, (_FLOAT32, _FLOAT64))
    yield from shape_violations(tensor, path, input_shape)


def labels_violations(
    tensor: tensor_pb2.Tensor, path: str, input_shape: Sequence[int]
) -> Iterator[Violation]:
    """Label maps are INT32 of the model's input height and width (H, W)."""
    yield from _tensor_violations(tensor, path, (_INT32,))
    yield from shape_violations(tensor, path, input_shape[1:])


def shape_violations(
    tensor: tensor_pb2.Tensor, path: str, shape: Sequence[int]
) -> Iterator[Violation]:
    """A violation unless the tensor has exactly this shape."""
    if list(tensor.shape) != list(shape):
        yield Violation(f"{path}.shape", f"must be {_text(shape)}, not {_text(tensor.shape)}")


def _tensor_violations(
    tensor: tensor_pb2.Tensor, path: str, dtypes: Sequence[tensor_pb2.DataType.ValueType]
) -> Iterator[Violation]:
    if tensor.dtype not in dtypes:
        names = " or ".join(tensor_pb2.DataType.Name(dtype) for dtype in dtypes)
        yield Violation(f"{path}.dtype", f"must be {names}")
        return
    try:
        check_tensor(tensor)
    except TensorError as error:
        yield Violation(f"{path}.{error.field}", error.description)
        return
    not_finite = np.flatnonzero(~np.isfinite(from_tensor(tensor)))
    if not_finite.size:
        yield Violation(
            f"{path}.data", f"must be finite; element {not_finite[0]} is NaN or infinite"
        )


def _text(shape: Sequence[int]) -> str:
    """A shape for people, cut short where a caller sent a long one."""
    lengths = ", ".join(str(length) for length in shape[:4])
    return f"({lengths}, …)" if len(shape) > 4 else f"({lengths})"
