"""Parameters of a method that do not fit one another, or the model's input."""

from collections.abc import Iterator, Sequence

from google.protobuf.message import Message

from expound.parameters import Violation
from expound.v1 import method_pb2
from expound_server.evaluations import stride, window


def combination_violations(
    method: Message, path: str, input_shape: Sequence[int]
) -> Iterator[Violation]:
    """What no value alone is wrong with, in a resolved method."""
    if isinstance(method, method_pb2.Occlusion):
        for side, length in zip(("height", "width"), input_shape[1:], strict=True):
            yield from _window_violations(method, path, side, length)
    if isinstance(method, method_pb2.IntegratedGradients) and method.HasField("max_delta"):
        yield from _precision_violations(method, path)


def _window_violations(
    occlusion: method_pb2.Occlusion, path: str, side: str, length: int
) -> Iterator[Violation]:
    covered = window(occlusion, side, length)
    if covered > length:
        yield Violation(f"{path}.window_{side}", f"must be at most the input's {side}, {length}")
    elif stride(occlusion, side, length) > covered:
        description = f"must be at most window_{side}, {covered}, or it leaves gaps between windows"
        yield Violation(f"{path}.stride_{side}", description)


def _precision_violations(
    gradients: method_pb2.IntegratedGradients, path: str
) -> Iterator[Violation]:
    if gradients.HasField("noise_tunnel"):
        description = "is not for maps under noise, which do not add up to a difference of scores"
        yield Violation(f"{path}.max_delta", description)
    if gradients.max_steps < gradients.n_steps:
        description = f"must be at least n_steps, {gradients.n_steps}, where max_delta is given"
        yield Violation(f"{path}.max_steps", description)
