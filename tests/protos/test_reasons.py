"""Every reason has a status code, and comes back out of the status it was put into."""

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from expound.reasons import DOMAIN, STATUS_CODES, Reason, reason_of, status


def test_every_reason_has_a_status_code() -> None:
    assert set(STATUS_CODES) == set(Reason)
    assert grpc.StatusCode.OK not in STATUS_CODES.values()
    assert grpc.StatusCode.UNKNOWN not in STATUS_CODES.values()


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_comes_back_from_its_status(reason: Reason) -> None:
    assert reason.name == reason.value
    wire = status(reason, "what was wrong").SerializeToString()
    back = status_pb2.Status.FromString(wire)
    assert reason_of(back) is reason
    assert back.message == "what was wrong"
    assert code_pb2.Code.Name(back.code) == STATUS_CODES[reason].name


def test_details_hold_variables_violations_and_the_delay() -> None:
    made = status(
        Reason.INVALID_FIELD,
        "bad",
        metadata={"allowed": "1 to 3"},
        violations=[("methods[2].lime.n_samples", "must be from 10")],
        retry_after_s=1.5,
    )
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail, message in zip(made.details, (info, bad_request, retry), strict=True):
        assert detail.Unpack(message)
    assert (info.domain, info.reason, dict(info.metadata)) == (
        DOMAIN,
        "INVALID_FIELD",
        {"allowed": "1 to 3"},
    )
    (violation,) = bad_request.field_violations
    assert (violation.field, violation.description) == (
        "methods[2].lime.n_samples",
        "must be from 10",
    )
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1.5


def test_a_status_of_another_domain_or_with_an_unknown_reason_has_no_reason() -> None:
    assert reason_of(status_pb2.Status(code=5, message="not ours")) is None
    for domain, reason in (("elsewhere", "INTERNAL"), (DOMAIN, "FROM_A_LATER_VERSION")):
        foreign = status_pb2.Status(code=13)
        foreign.details.add().Pack(error_details_pb2.ErrorInfo(domain=domain, reason=reason))
        assert reason_of(foreign) is None
