"""Requests, as the blocking and the asyncio client both make them."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal, TypeAlias, TypeVar

from expound import parameters
from expound.v1 import (
    explanation_pb2,
    explanation_service_pb2,
    method_pb2,
    model_service_pb2,
    tensor_pb2,
)
from expound_client.errors import InvalidArgumentError
from expound_client.inputs import ImageLike, to_inputs
from expound_client.method import Method
from expound_client.methods import METHODS
from expound_client.targets import Target, to_target

MethodLike: TypeAlias = str | Method | method_pb2.Method
"""A method: its name, for one with the defaults of the contract; a class of `methods`; or the
contract's own message."""

ListRequest: TypeAlias = (
    explanation_service_pb2.ListExplanationsRequest | model_service_pb2.ListModelsRequest
)
Page = TypeVar(
    "Page",
    explanation_service_pb2.ListExplanationsResponse,
    model_service_pb2.ListModelsResponse,
)

_Value = TypeVar("_Value")

DEFAULT_ADDRESS = "localhost:50051"
DEFAULT_CALL_TIMEOUT_S = 30.0
PAGE_SIZE = 100

_VALUES_DTYPES = {
    "float32": tensor_pb2.DATA_TYPE_FLOAT32,
    "float16": tensor_pb2.DATA_TYPE_FLOAT16,
}
_CHANNELS = {
    "keep": explanation_pb2.OutputOptions.CHANNELS_KEEP,
    "sum": explanation_pb2.OutputOptions.CHANNELS_SUM,
}
_ENCODINGS = {
    "tensor": explanation_pb2.OutputOptions.ENCODING_TENSOR,
    "png": explanation_pb2.OutputOptions.ENCODING_PNG,
}


def explain_request(
    images: ImageLike | Sequence[ImageLike],
    *,
    model: str,
    methods: MethodLike | Sequence[MethodLike],
    target: Target,
    seed: int,
    wait_s: float | None,
    timeout_s: float | None,
    ttl_s: float | None,
    request_id: str | None,
    fresh: bool,
    deterministic: bool,
    values_dtype: Literal["float32", "float16"],
    channels: Literal["keep", "sum"],
    encoding: Literal["tensor", "png"],
) -> explanation_pb2.ExplainRequest:
    """Makes a request; `Client.explain` says what the arguments are.

    The server holds numbers to their ranges; those that the message cannot hold are refused here.
    """
    if isinstance(methods, MethodLike):
        methods = [methods]
    request = explanation_pb2.ExplainRequest(
        model=model,
        inputs=to_inputs(images),
        methods=[to_method(method, f"methods[{i}]") for i, method in enumerate(methods)],
        target=to_target(target),
        request_id=request_id or uuid.uuid4().hex,
        fresh=fresh,
        deterministic=deterministic,
        output=explanation_pb2.OutputOptions(
            values_dtype=_choice("output.values_dtype", values_dtype, _VALUES_DTYPES),
            channels=_choice("output.channels", channels, _CHANNELS),
            encoding=_choice("output.encoding", encoding, _ENCODINGS),
        ),
    )
    with _representable("seed", seed):
        request.seed = seed
    for name, seconds in (("wait", wait_s), ("timeout", timeout_s), ("ttl", ttl_s)):
        if seconds is not None:
            with _representable(name, seconds):
                getattr(request, name).FromTimedelta(timedelta(seconds=float(seconds)))
    return request


def to_method(method: MethodLike, field: str) -> method_pb2.Method:
    """Makes the message of a method. Raises InvalidArgumentError for what is none."""
    if isinstance(method, method_pb2.Method):
        return method
    if isinstance(method, Method):
        return method.to_proto()
    if isinstance(method, str):
        return _choice(field, method, METHODS)().to_proto()
    raise InvalidArgumentError.of(field, f"must be a name or a method, not {method!r}")


def wait_s(request: explanation_pb2.ExplainRequest) -> float:
    """How long the server may wait before it answers a request, in seconds."""
    return request.wait.ToTimedelta().total_seconds()


def get_request(name: str, *, full: bool) -> explanation_service_pb2.GetExplanationRequest:
    """Asks for an explanation; not `full`: without its maps."""
    return explanation_service_pb2.GetExplanationRequest(
        name=explanation_name(name), view=view(full)
    )


def get_model_request(name: str) -> model_service_pb2.GetModelRequest:
    """Asks for the card of a model, by `NAME` or `models/NAME`."""
    return model_service_pb2.GetModelRequest(name=f"models/{name.removeprefix('models/')}")


def explanation_name(name: str) -> str:
    """The resource name of an explanation given as `explanations/ID` or ID."""
    return f"explanations/{name.removeprefix('explanations/')}"


def view(full: bool) -> explanation_pb2.ExplanationView.ValueType:
    """Whether maps are sent."""
    return explanation_pb2.EXPLANATION_VIEW_FULL if full else explanation_pb2.EXPLANATION_VIEW_BASIC


@contextmanager
def _representable(field: str, value: float) -> Iterator[None]:
    """Raises InvalidArgumentError where a number is none that a field of the request can hold."""
    try:
        yield
    except (OverflowError, ValueError):
        rule = parameters.allowed(explanation_pb2.ExplainRequest.DESCRIPTOR.fields_by_name[field])
        raise InvalidArgumentError.of(field, f"must be {rule}, not {value}") from None


def _choice(field: str, name: str, allowed: Mapping[str, _Value]) -> _Value:
    if name not in allowed:
        raise InvalidArgumentError.of(field, f"must be one of {', '.join(allowed)}, not {name!r}")
    return allowed[name]
