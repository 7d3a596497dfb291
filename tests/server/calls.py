"""Calls to a server, and what it refuses them with."""

from collections.abc import Awaitable
from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from expound.reasons import DOMAIN
from expound.v1 import explanation_pb2
from expound.v1.explanation_pb2 import ExplainRequest


@dataclass(frozen=True)
class Refusal:
    """Status of a call that failed, with all its details."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    fields: dict[str, str]
    retry_after_s: float | None
    quotas: tuple[str, ...] = ()


async def refusal(call: Awaitable[object]) -> Refusal:
    """Waits for a call to fail, and gives why."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return read_refusal(error)
    raise AssertionError(f"it was not refused, but gave {answer}")


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Reads the details of an error."""
    rich: status_pb2.Status | None = rpc_status.from_call(error)  # type: ignore[arg-type]  # has what it takes
    if rich is None:
        return Refusal(error.code(), error.details() or "", "", {}, {}, None)
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    quota = error_details_pb2.QuotaFailure()
    for detail in rich.details:
        for message in (info, bad_request, retry, quota):
            detail.Unpack(message)
    assert info.domain == DOMAIN
    return Refusal(
        error.code(),
        rich.message,
        info.reason,
        dict(info.metadata),
        {violation.field: violation.description for violation in bad_request.field_violations},
        retry.retry_delay.ToMilliseconds() / 1000 if retry.HasField("retry_delay") else None,
        tuple(violation.subject for violation in quota.violations),
    )


def explain_request(*methods: str, model: str = "tiny", wait_s: int = 0) -> ExplainRequest:
    """A request with one input, that is right unless the test changes it."""
    request = ExplainRequest(model=model, inputs=[explanation_pb2.Input(image=b"an image")])
    for method in methods or ("saliency",):
        getattr(request.methods.add(), method).SetInParent()
    request.wait.FromSeconds(wait_s)
    return request
