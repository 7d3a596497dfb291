"""The reasons of errors, and the gRPC status that each one means.

Workers and servers raise reasons, one interceptor turns them into statuses, and clients turn them
back into exceptions; this is the one table they share.
"""

from enum import StrEnum

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "expound"


class Reason(StrEnum):
    """Why a request or a method failed: the `reason` of the error's `ErrorInfo`."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    """The call does not say who makes it, or not so that it can be believed."""
    INVALID_FIELD = "INVALID_FIELD"
    """A field of the request breaks its rule; `BadRequest` names the field."""
    INVALID_IMAGE = "INVALID_IMAGE"
    """The bytes of an input are not an image that can be read, or it is too large."""
    TOO_FEW_SEGMENTS = "TOO_FEW_SEGMENTS"
    """The segmentation found too few segments in an input for an explanation."""
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    """No live worker serves the model."""
    NO_WORKER = "NO_WORKER"
    """No worker lives, of any model: they start, or have not been heard of yet."""
    EXPLANATION_NOT_FOUND = "EXPLANATION_NOT_FOUND"
    """No such explanation, or it was deleted or expired."""
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    """The request id was used before, with another request."""
    METHOD_NOT_IMPLEMENTED = "METHOD_NOT_IMPLEMENTED"
    """The contract names the method, but no worker implements it yet."""
    METHOD_UNSUPPORTED = "METHOD_UNSUPPORTED"
    """The method cannot be right on this model."""
    NOT_COMPLETE = "NOT_COMPLETE"
    """The values of the method do not add up on this input; the message says by how much."""
    EXPLANATION_ENDED = "EXPLANATION_ENDED"
    """The explanation has reached a terminal state already."""
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    """The request's `timeout` passed before the work was done."""
    EXPIRED = "EXPIRED"
    """The request's `ttl` passed before the work was done."""
    CANCELLED = "CANCELLED"
    """The explanation was cancelled."""
    REDIS_UNAVAILABLE = "REDIS_UNAVAILABLE"
    """The store of explanations does not answer."""
    REDIS_FULL = "REDIS_FULL"
    """The store of explanations has no memory left for more."""
    SERVER_STOPPING = "SERVER_STOPPING"
    """The server is draining; another one, or the same later, goes on."""
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    """A message is above the size limit."""
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    """The tenant has used up what it may ask for; `QuotaFailure` says what."""
    QUEUE_FULL = "QUEUE_FULL"
    """More work waits than the service takes on."""
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    """The device had not enough memory even for a batch of one."""
    NOT_FINITE = "NOT_FINITE"
    """The model gave NaN or infinity."""
    MODEL_ERROR = "MODEL_ERROR"
    """The model raised an error on this input."""
    WORKER_LOST = "WORKER_LOST"
    """The workers that ran it were lost, one after the other; it may be what ends them."""
    INTERNAL = "INTERNAL"
    """A defect of Expound; the message has an id that is in the log too."""


STATUS_CODES: dict[Reason, grpc.StatusCode] = {
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_IMAGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TOO_FEW_SEGMENTS: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MODEL_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.NO_WORKER: grpc.StatusCode.UNAVAILABLE,
    Reason.EXPLANATION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.REQUEST_ID_REUSED: grpc.StatusCode.ALREADY_EXISTS,
    Reason.METHOD_NOT_IMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.METHOD_UNSUPPORTED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NOT_COMPLETE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.EXPLANATION_ENDED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.EXPIRED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.REDIS_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.REDIS_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.SERVER_STOPPING: grpc.StatusCode.UNAVAILABLE,
    Reason.MESSAGE_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.QUOTA_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.QUEUE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.OUT_OF_MEMORY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.NOT_FINITE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.MODEL_ERROR: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.WORKER_LOST: grpc.StatusCode.ABORTED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}


def status(
    reason: Reason,
    message: str,
    *,
    metadata: dict[str, str] | None = None,
    violations: list[tuple[str, str]] | None = None,
    retry_after_s: float | None = None,
    quota: str | None = None,
) -> status_pb2.Status:
    """Builds the `google.rpc.Status` of a reason.

    Args:
        reason: what went wrong; decides the code.
        message: what was wrong, what is allowed and what to do, for people.
        metadata: the variables of the message, for programs (`ErrorInfo.metadata`).
        violations: (field path, description) pairs of a bad request.
        retry_after_s: seconds after which trying again makes sense.
        quota: whose quota is used up, such as ``tenant:NAME``; the message says which.
    """
    details: list[any_pb2.Any] = []
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata or {})
    details.append(_packed(info))
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for field, description in violations:
            bad_request.field_violations.add(field=field, description=description)
        details.append(_packed(bad_request))
    if retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(retry_after_s * 1e9))
        details.append(_packed(retry))
    if quota is not None:
        failure = error_details_pb2.QuotaFailure()
        failure.violations.add(subject=quota, description=message)
        details.append(_packed(failure))
    code: int = STATUS_CODES[reason].value[0]
    return status_pb2.Status(code=code, message=message, details=details)


def reason_of(status: status_pb2.Status) -> Reason | None:
    """Reads the reason back; None for a status that is not ours."""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason in Reason.__members__:
            return Reason(info.reason)
    return None


def _packed(
    message: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo
    | error_details_pb2.QuotaFailure,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
