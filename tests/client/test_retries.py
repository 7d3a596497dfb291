"""How long a server that does not answer is tried again."""

import grpc
import pytest

from expound.reasons import Reason, status
from expound.v1 import model_service_pb2, model_service_pb2_grpc
from expound_client import retries
from expound_client.errors import UnavailableError, from_rpc_error
from expound_client.retries import Retries
from tests.client.fake_service import FakeService, raised_by
from tests.processes import free_port


class Clock:
    """Stands in for the module `time`; the test moves it on."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retries, "time", clock)
    return clock


@pytest.fixture(scope="module")
def unavailable() -> grpc.RpcError:
    """What a call raises where no server listens."""
    with grpc.insecure_channel(f"127.0.0.1:{free_port()}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListModels(model_service_pb2.ListModelsRequest(), timeout=10)
    return caught.value


def test_an_outage_is_as_long_as_its_tries_fail(clock: Clock, unavailable: grpc.RpcError) -> None:
    tried = Retries()
    begin_s = clock.now_s
    with pytest.raises(UnavailableError):
        while clock.now_s < begin_s + 600:
            clock.now_s += tried.pause_s(unavailable)
    assert 60 < clock.now_s - begin_s < 70


def test_a_quiet_time_before_the_first_failure_is_no_outage(
    clock: Clock, unavailable: grpc.RpcError
) -> None:
    tried = Retries()
    tried.heard()
    clock.now_s += 500
    assert tried.pause_s(unavailable) <= 0.1


def test_what_is_heard_ends_an_outage(clock: Clock, unavailable: grpc.RpcError) -> None:
    tried = Retries()
    for _ in range(20):
        clock.now_s += tried.pause_s(unavailable) + 10
        tried.heard()
    assert tried.pause_s(unavailable) <= 0.1


def test_a_stream_that_stood_ends_an_outage_though_nothing_was_heard(
    clock: Clock, unavailable: grpc.RpcError
) -> None:
    tried = Retries()
    for _ in range(20):
        clock.now_s += tried.pause_s(unavailable) + 40
    assert tried.pause_s(unavailable) <= 0.1


def test_connecting_in_vain_is_part_of_an_outage(clock: Clock, unavailable: grpc.RpcError) -> None:
    tried = Retries()
    with pytest.raises(UnavailableError):
        for _ in range(20):
            clock.now_s += tried.pause_s(unavailable) + 20


def test_pauses_grow_to_the_longest(clock: Clock, unavailable: grpc.RpcError) -> None:
    tried = Retries()
    pauses_s = [tried.pause_s(unavailable) for _ in range(10)]
    assert pauses_s[0] <= 0.1
    assert 2.5 <= pauses_s[-1] <= 5


def test_a_pause_that_the_server_asks_for_is_part_of_an_outage(
    clock: Clock, service: FakeService
) -> None:
    refused = raised_by(service, status(Reason.REDIS_UNAVAILABLE, "no Redis", retry_after_s=31))
    tried = Retries()
    begin_s = clock.now_s
    with pytest.raises(UnavailableError):
        for _ in range(20):
            clock.now_s += tried.pause_s(refused)
    assert clock.now_s - begin_s == 62


@pytest.mark.parametrize(
    "reason",
    [Reason.QUOTA_EXCEEDED, Reason.REDIS_FULL, Reason.INTERNAL, Reason.EXPLANATION_NOT_FOUND],
)
def test_a_refusal_is_final_though_it_says_when_to_try_again(
    service: FakeService, reason: Reason
) -> None:
    refused = raised_by(service, status(reason, "why", retry_after_s=1))
    with pytest.raises(type(from_rpc_error(refused))) as raised:
        Retries().pause_s(refused)
    assert raised.value.reason == reason
