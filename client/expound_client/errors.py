"""Everything that this package raises.

    ExpoundError
    ├── InvalidArgumentError         a field of the request is wrong (also a ValueError)
    ├── NotFoundError
    │   ├── ModelNotFoundError
    │   └── ExplanationNotFoundError
    ├── AlreadyExistsError           the request id was used with another request
    ├── FailedPreconditionError
    │   ├── MethodUnsupportedError
    │   ├── NotCompleteError
    │   ├── ExplanationEndedError
    │   └── ModelFailedError
    ├── MethodNotImplementedError
    ├── ResourceExhaustedError
    │   ├── QuotaExceededError
    │   └── QueueFullError
    ├── UnavailableError
    ├── DeadlineExceededError
    ├── CancelledError
    ├── WorkerLostError
    ├── PermissionDeniedError
    │   └── UnauthenticatedError
    ├── InternalError
    └── ExplanationFailedError       carries the results that came
        ├── ExplanationCancelledError
        └── ExplanationExpiredError

An error of the server becomes a class by one table: its gRPC status, and the reason in its
`ErrorInfo` where that tells more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from expound.parameters import Violation
from expound.reasons import Reason, reason_of

if TYPE_CHECKING:
    from expound_client.results import ExplanationResult


class ExpoundError(Exception):
    """Something went wrong in Expound; the root of all errors.

    Attributes:
        message: what was wrong, for people.
        reason: why, for programs; None where the server gave none.
        violations: fields of the request that break their rule, by their path.
        metadata: the variables of the message, such as the model's name.
        retry_after_s: seconds after which trying again makes sense; None if unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        violations: tuple[Violation, ...] = (),
        metadata: dict[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.violations = violations
        self.metadata = metadata or {}
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """The message, and the fields and descriptions that it does not hold itself."""
        more = [
            each.field if each.description in self.message else f"{each.field}: {each.description}"
            for each in self.violations
            if each.field not in self.message
        ]
        return f"{self.message} ({'; '.join(more)})" if more else self.message


class InvalidArgumentError(ExpoundError, ValueError):
    """A field of the request is wrong; `violations` says which and what is allowed."""

    @classmethod
    def of(cls, field: str, description: str) -> "InvalidArgumentError":
        """Makes the error of one field."""
        return cls(
            f"{field}: {description}",
            reason=Reason.INVALID_FIELD,
            violations=(Violation(field, description),),
        )


class NotFoundError(ExpoundError):
    """What was asked for does not exist."""


class ModelNotFoundError(NotFoundError):
    """No live worker serves the model."""


class ExplanationNotFoundError(NotFoundError):
    """There is no such explanation: it never was, was deleted, or its time to live is over."""


class AlreadyExistsError(ExpoundError):
    """The request id was used before, with another request."""


class FailedPreconditionError(ExpoundError):
    """The request is well formed, but cannot be carried out as things are."""


class MethodUnsupportedError(FailedPreconditionError):
    """The method cannot be right on this model; the message says why and what to use instead."""


class NotCompleteError(FailedPreconditionError):
    """The method's values do not add up on this input; the message says by how much."""


class ExplanationEndedError(FailedPreconditionError):
    """The explanation has ended already, so it cannot be cancelled."""


class ModelFailedError(FailedPreconditionError):
    """The model raised an error on the input, or gave NaN or infinity."""


class MethodNotImplementedError(ExpoundError):
    """No worker implements the method yet; the message names those that exist."""


class ResourceExhaustedError(ExpoundError):
    """Something is too large or too much: a message, the device's memory, the queue."""


class QuotaExceededError(ResourceExhaustedError):
    """The caller asks for more than it may; `metadata` says which limit of whom.

    `retry_after_s` says when there is room again; None for a request that is itself too much.
    """


class QueueFullError(ResourceExhaustedError):
    """More work waits than the service takes on; `retry_after_s` says when to try again."""


class UnavailableError(ExpoundError):
    """The server, or the store behind it, does not answer; trying again later makes sense."""


class DeadlineExceededError(ExpoundError):
    """The time that was given is over."""


class CancelledError(ExpoundError):
    """The call was cancelled."""


class WorkerLostError(ExpoundError):
    """The workers that ran it were lost, one after the other; it may be what ends them."""


class PermissionDeniedError(ExpoundError):
    """The server does not know the caller, or does not allow it."""


class UnauthenticatedError(PermissionDeniedError):
    """The call does not say who makes it, or not so that the server believes it."""


class InternalError(ExpoundError):
    """A defect of Expound; the message has an id that is in the server's log too."""


class ExplanationFailedError(ExpoundError):
    """The explanation ended without all that was asked for.

    Attributes:
        result: what there is: states and errors of all methods, attributions of those that were
            done.
    """

    def __init__(self, message: str, result: "ExplanationResult") -> None:
        cause = result.error
        super().__init__(
            message,
            reason=cause.reason if cause else None,
            violations=cause.violations if cause else (),
            metadata=cause.metadata if cause else None,
        )
        self.result = result


class ExplanationCancelledError(ExplanationFailedError):
    """The explanation was cancelled before its work was done."""


class ExplanationExpiredError(ExplanationFailedError):
    """The explanation's time to live was over before its work was done."""


_CLASSES: dict[tuple[int, Reason | None], type[ExpoundError]] = {
    (code_pb2.INVALID_ARGUMENT, None): InvalidArgumentError,
    (code_pb2.OUT_OF_RANGE, None): InvalidArgumentError,
    (code_pb2.NOT_FOUND, None): NotFoundError,
    (code_pb2.NOT_FOUND, Reason.MODEL_NOT_FOUND): ModelNotFoundError,
    (code_pb2.NOT_FOUND, Reason.EXPLANATION_NOT_FOUND): ExplanationNotFoundError,
    (code_pb2.ALREADY_EXISTS, None): AlreadyExistsError,
    (code_pb2.FAILED_PRECONDITION, None): FailedPreconditionError,
    (code_pb2.FAILED_PRECONDITION, Reason.METHOD_UNSUPPORTED): MethodUnsupportedError,
    (code_pb2.FAILED_PRECONDITION, Reason.NOT_COMPLETE): NotCompleteError,
    (code_pb2.FAILED_PRECONDITION, Reason.EXPLANATION_ENDED): ExplanationEndedError,
    (code_pb2.FAILED_PRECONDITION, Reason.NOT_FINITE): ModelFailedError,
    (code_pb2.FAILED_PRECONDITION, Reason.MODEL_ERROR): ModelFailedError,
    (code_pb2.UNIMPLEMENTED, Reason.METHOD_NOT_IMPLEMENTED): MethodNotImplementedError,
    (code_pb2.RESOURCE_EXHAUSTED, None): ResourceExhaustedError,
    (code_pb2.RESOURCE_EXHAUSTED, Reason.QUOTA_EXCEEDED): QuotaExceededError,
    (code_pb2.RESOURCE_EXHAUSTED, Reason.QUEUE_FULL): QueueFullError,
    (code_pb2.UNAVAILABLE, None): UnavailableError,
    (code_pb2.DEADLINE_EXCEEDED, None): DeadlineExceededError,
    (code_pb2.CANCELLED, None): CancelledError,
    (code_pb2.ABORTED, Reason.WORKER_LOST): WorkerLostError,
    (code_pb2.UNAUTHENTICATED, None): UnauthenticatedError,
    (code_pb2.PERMISSION_DENIED, None): PermissionDeniedError,
    (code_pb2.INTERNAL, None): InternalError,
}
"""Status and reason to class; a reason without an entry of its own takes its status' class."""


def from_status(status: status_pb2.Status) -> ExpoundError:
    """Makes the typed error of a `google.rpc.Status`."""
    reason = reason_of(status)
    by_code = _CLASSES.get((status.code, None), ExpoundError)
    error_class = _CLASSES.get((status.code, reason), by_code)
    violations: tuple[Violation, ...] = ()
    metadata: dict[str, str] = {}
    retry_after_s = None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            metadata = dict(info.metadata)
        elif detail.Unpack(bad_request):
            violations = tuple(
                Violation(violation.field, violation.description)
                for violation in bad_request.field_violations
            )
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    return error_class(
        status.message,
        reason=reason,
        violations=violations,
        metadata=metadata,
        retry_after_s=retry_after_s,
    )


def from_rpc_error(error: grpc.RpcError) -> ExpoundError:
    """Makes the typed error of a call that failed, with the details that the server sent."""
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))
    except ValueError:  # Somebody between changed the status: the call's own is the one to trust.
        status = None
    if status is None:
        code, details = error.code(), error.details()
        status = status_pb2.Status(code=code.value[0], message=details or code.value[1])
    return from_status(status)


@contextmanager
def translated() -> Iterator[None]:
    """Raises every `grpc.RpcError` from within it as the typed error that it means."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
