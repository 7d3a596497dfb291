"""Errors that the server answers a call with; one interceptor turns them into statuses.

::

    CallError
    ├── Unauthenticated
    ├── InvalidRequest
    ├── MalformedRequest
    ├── ModelNotFound
    ├── NoWorker
    ├── MethodNotImplemented
    ├── MethodUnsupported
    ├── ExplanationNotFound
    ├── ExplanationEnded
    ├── RequestIdReused
    ├── AnswerTooLarge
    ├── MapTooLarge
    ├── RequestTooLarge
    ├── QuotaExceeded
    ├── QueueFull
    ├── BrokerUnavailable
    └── ServerStopping
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from expound.parameters import Violation
from expound.reasons import Reason

# Details travel in the trailing metadata, of which gRPC allows 8 KiB.
_MOST_NAMED = 20
_LONGEST_NAME = 128


class CallError(Exception):
    """The root: why a call fails.

    Attributes:
        reason: what went wrong; decides the status.
        message: what was wrong, what is allowed and what to do, for people.
        metadata: the variables of the message, for programs.
        violations: the fields that are to blame.
        quota: whose quota is used up.
        retry_after_s: seconds after which trying again makes sense; None for never.
    """

    reason: ClassVar[Reason]
    retry_after_s: float | None = None
    quota: str | None = None

    def __init__(
        self,
        message: str,
        *,
        metadata: dict[str, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata or {}
        self.violations = violations[:_MOST_NAMED]


class Unauthenticated(CallError):
    """It is not known who calls; never says anything of the credentials themselves."""

    reason = Reason.UNAUTHENTICATED


class InvalidRequest(CallError):
    """Fields of the request break their rules."""

    reason = Reason.INVALID_FIELD

    def __init__(self, violations: Sequence[Violation]) -> None:
        first, others = violations[0], len(violations) - 1
        also = f" (and {others} more)" if others else ""
        super().__init__(f"{first.field}: {first.description}{also}", violations=violations)


class MalformedRequest(CallError):
    """The bytes of the request are no message of the contract."""

    reason = Reason.INVALID_FIELD

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the request cannot be read: {what}; make it with the .proto files of this version"
        )


class ModelNotFound(CallError):
    """No live worker serves the model."""

    reason = Reason.MODEL_NOT_FOUND

    def __init__(self, model: str, known: Sequence[str]) -> None:
        model = model[:_LONGEST_NAME]
        super().__init__(
            f"no live worker serves the model {model!r}; served are: {named(known)}",
            metadata={"model": model},
        )


class NoWorker(CallError):
    """No worker lives, of any model."""

    reason = Reason.NO_WORKER
    retry_after_s = 2

    def __init__(self) -> None:
        super().__init__("no worker lives yet, so that no model is served; try again")


class MethodNotImplemented(CallError):
    """No worker of the model implements a method."""

    reason = Reason.METHOD_NOT_IMPLEMENTED

    def __init__(
        self, method: str, implemented: Sequence[str], violations: Sequence[Violation]
    ) -> None:
        super().__init__(
            f"{method} is not implemented yet; implemented are: {named(implemented)}",
            metadata={"method": method, "implemented": ",".join(implemented)},
            violations=violations,
        )


class MethodUnsupported(CallError):
    """A method cannot be right on the model."""

    reason = Reason.METHOD_UNSUPPORTED

    def __init__(self, method: str, model: str, why: str, violations: Sequence[Violation]) -> None:
        super().__init__(
            f"{method} cannot explain the model {model!r}: {why}",
            metadata={"method": method, "model": model},
            violations=violations,
        )


class ExplanationNotFound(CallError):
    """No such explanation, or it was deleted or expired."""

    reason = Reason.EXPLANATION_NOT_FOUND

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no {name}: it never was, was deleted, or expired", metadata={"name": name}
        )


class ExplanationEnded(CallError):
    """The explanation has reached a terminal state already."""

    reason = Reason.EXPLANATION_ENDED

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has ended already", metadata={"name": name})


class RequestIdReused(CallError):
    """The request id was used before, with another request."""

    reason = Reason.REQUEST_ID_REUSED

    def __init__(self, request_id: str, name: str) -> None:
        super().__init__(
            f"the request id {request_id!r} belongs to another request, {name}; use a new one",
            metadata={"request_id": request_id, "name": name},
        )


class AnswerTooLarge(CallError):
    """The answer is above the message limit, even without tensors."""

    reason = Reason.MESSAGE_TOO_LARGE

    def __init__(self, name: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{name} takes {size_bytes} bytes without its tensors, above the limit of "
            f"{limit_bytes}; ask for fewer inputs, methods or targets",
            metadata={"name": name, "size": str(size_bytes), "limit": str(limit_bytes)},
        )


class MapTooLarge(CallError):
    """One map alone is above the message limit."""

    reason = Reason.MESSAGE_TOO_LARGE

    def __init__(self, name: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"one map of {name} takes {size_bytes} bytes, above the limit of {limit_bytes}; ask "
            "for FLOAT16 or PNG",
            metadata={"name": name, "size": str(size_bytes), "limit": str(limit_bytes)},
        )


class RequestTooLarge(CallError):
    """The request, which every answer repeats, leaves no room for one."""

    reason = Reason.MESSAGE_TOO_LARGE

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the request takes {size_bytes} bytes without its inputs, above the limit of "
            f"{limit_bytes}; send fewer or smaller baselines and label maps",
            metadata={"size": str(size_bytes), "limit": str(limit_bytes)},
        )


class QuotaExceeded(CallError):
    """The tenant asks for more than it may."""

    reason = Reason.QUOTA_EXCEEDED

    def __init__(
        self, limit: str, message: str, tenant: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, metadata={"limit": limit, "tenant": tenant})
        self.retry_after_s = retry_after_s
        self.quota = f"tenant:{tenant}"


class QueueFull(CallError):
    """More work waits than the workers can take."""

    reason = Reason.QUEUE_FULL

    def __init__(self, limit: int, retry_after_s: float) -> None:
        super().__init__(
            f"{limit} pieces of work wait already; try again later", metadata={"limit": "waiting"}
        )
        self.retry_after_s = retry_after_s
        self.quota = "service"


class BrokerUnavailable(CallError):
    """The ticket of an accepted explanation could not be handed over."""

    reason = Reason.REDIS_UNAVAILABLE
    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("the queue of the workers does not answer; try again, with the same id")


class ServerStopping(CallError):
    """The server is draining."""

    reason = Reason.SERVER_STOPPING
    retry_after_s = 0

    def __init__(self) -> None:
        super().__init__("the server is stopping; go on with another one, or the same later")


def named(names: Iterable[str]) -> str:
    """The names in one line, the first of them when there are many."""
    sorted_names = sorted(names)
    more = len(sorted_names) - _MOST_NAMED
    listed = ", ".join(sorted_names[:_MOST_NAMED]) or "none"
    return f"{listed} and {more} more" if more > 0 else listed
