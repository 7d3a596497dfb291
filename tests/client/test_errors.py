"""A status and its reason become a typed exception that carries all details."""

import pickle

import grpc
import pytest
from google.rpc import code_pb2, status_pb2

from expound.parameters import Violation
from expound.reasons import STATUS_CODES, Reason, status
from expound.v1 import model_service_pb2
from expound_client import Client, errors
from tests.client.fake_service import FakeService

CLASSES = {
    Reason.INVALID_FIELD: errors.InvalidArgumentError,
    Reason.INVALID_IMAGE: errors.InvalidArgumentError,
    Reason.TOO_FEW_SEGMENTS: errors.InvalidArgumentError,
    Reason.MODEL_NOT_FOUND: errors.ModelNotFoundError,
    Reason.EXPLANATION_NOT_FOUND: errors.ExplanationNotFoundError,
    Reason.REQUEST_ID_REUSED: errors.AlreadyExistsError,
    Reason.METHOD_NOT_IMPLEMENTED: errors.MethodNotImplementedError,
    Reason.METHOD_UNSUPPORTED: errors.MethodUnsupportedError,
    Reason.NOT_COMPLETE: errors.NotCompleteError,
    Reason.EXPLANATION_ENDED: errors.ExplanationEndedError,
    Reason.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    Reason.EXPIRED: errors.DeadlineExceededError,
    Reason.CANCELLED: errors.CancelledError,
    Reason.UNAUTHENTICATED: errors.UnauthenticatedError,
    Reason.QUOTA_EXCEEDED: errors.QuotaExceededError,
    Reason.QUEUE_FULL: errors.QueueFullError,
    Reason.REDIS_FULL: errors.ResourceExhaustedError,
    Reason.MESSAGE_TOO_LARGE: errors.ResourceExhaustedError,
    Reason.OUT_OF_MEMORY: errors.ResourceExhaustedError,
    Reason.NOT_FINITE: errors.ModelFailedError,
    Reason.MODEL_ERROR: errors.ModelFailedError,
    Reason.WORKER_LOST: errors.WorkerLostError,
    Reason.INTERNAL: errors.InternalError,
}
UNAVAILABLE = {reason for reason, code in STATUS_CODES.items() if code.name == "UNAVAILABLE"}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_class(reason: Reason) -> None:
    expected = CLASSES.get(reason, errors.UnavailableError if reason in UNAVAILABLE else None)
    error = errors.from_status(status(reason, "what was wrong"))
    assert type(error) is expected
    assert error.reason == reason
    assert str(error) == "what was wrong"


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_status_has_a_class_though_it_has_no_reason(code: grpc.StatusCode) -> None:
    error = errors.from_status(status_pb2.Status(code=code.value[0], message="why"))
    assert isinstance(error, errors.ExpoundError)
    assert error.reason is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (code_pb2.PERMISSION_DENIED, errors.PermissionDeniedError),
        (code_pb2.OUT_OF_RANGE, errors.InvalidArgumentError),
        (code_pb2.UNAVAILABLE, errors.UnavailableError),
        (code_pb2.RESOURCE_EXHAUSTED, errors.ResourceExhaustedError),
    ],
)
def test_a_status_of_somebody_between_has_the_class_of_its_code(
    code: int, expected: type[errors.ExpoundError]
) -> None:
    assert type(errors.from_status(status_pb2.Status(code=code))) is expected


def test_the_details_of_a_refusal_arrive(service: FakeService, client: Client) -> None:
    service.refusals["GetExplanation"] = [
        status(
            Reason.INVALID_FIELD,
            "the request is wrong",
            metadata={"count": "1"},
            violations=[("methods[2].lime.n_samples", "must be at least 10, not 9")],
            retry_after_s=1.5,
        )
    ]
    with pytest.raises(errors.InvalidArgumentError) as caught:
        client.get("explanations/0")
    error = caught.value
    assert error.violations == (
        Violation("methods[2].lime.n_samples", "must be at least 10, not 9"),
    )
    assert error.metadata == {"count": "1"}
    assert error.retry_after_s == 1.5
    assert "methods[2].lime.n_samples" in str(error)
    assert isinstance(error.__cause__, grpc.RpcError)
    assert isinstance(error, ValueError)


class Between(FakeService):
    """Somebody between client and server: the status of a call is not that of its details."""

    message = "from between"

    def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.Model:
        told = status(Reason.INTERNAL, "from the server").SerializeToString()
        context.set_trailing_metadata((("grpc-status-details-bin", told),))
        context.abort(grpc.StatusCode.PERMISSION_DENIED, self.message)


@pytest.mark.parametrize(
    ("message", "told"), [("from between", "from between"), ("", "permission denied")]
)
def test_details_of_another_status_than_the_calls_are_not_believed(message: str, told: str) -> None:
    with Between() as service, Client(service.address) as client:
        service.message = message
        with pytest.raises(errors.PermissionDeniedError) as caught:
            client.model("small")
    assert (str(caught.value), caught.value.reason) == (told, None)


def test_the_tree_in_the_docstring_names_every_class() -> None:
    classes = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ExpoundError)
    ]
    drawn = (errors.__doc__ or "").split()
    assert all(name in drawn for name in classes)


def test_a_foreign_code_is_an_expound_error() -> None:
    error = errors.from_status(status_pb2.Status(code=code_pb2.DATA_LOSS, message="lost"))
    assert type(error) is errors.ExpoundError


def test_errors_can_be_pickled() -> None:
    error = errors.InvalidArgumentError.of("seed", "must be at least 0")
    assert pickle.loads(pickle.dumps(error)).violations == error.violations


def test_the_text_of_an_error_names_every_field_once() -> None:
    violations = [("seed", "is too large"), ("target.label", "is unknown")]
    told = status(Reason.INVALID_FIELD, "seed: is too large", violations=violations)
    assert str(errors.from_status(told)) == "seed: is too large (target.label: is unknown)"
    told = status(
        Reason.INVALID_FIELD, "rise is unknown", violations=[("methods[1]", "is unknown")]
    )
    assert str(errors.from_status(told)) == "rise is unknown (methods[1])"
