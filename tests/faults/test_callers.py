"""What callers ask too late, call off, or ask of others; servers of their own process."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from expound.reasons import Reason
from expound.v1 import explanation_pb2, explanation_service_pb2_grpc
from expound.v1.explanation_service_pb2 import WatchExplanationRequest
from expound_client import Client, State
from expound_client.errors import (
    ExplanationCancelledError,
    ExplanationEndedError,
    ExplanationFailedError,
    ExplanationNotFoundError,
    QuotaExceededError,
)
from tests.faults.front import MODEL, Front, Hands
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.watcher import Watcher
from tests.processes import resident_bytes, wait_until
from tests.server.calls import explain_request
from tests.server.tenants import CARDIOLOGY, RADIOLOGY, two_tenants

EVENTS = 10_000
SLACK_BYTES = 4 * 2**20


@pytest.fixture
def client(running: tuple[Front, str], front: Front) -> Iterator[Client]:
    with Client(running[1]) as connected:
        yield connected


def test_work_that_waits_beyond_its_timeout_fails_and_no_worker_touches_it(
    front: Front, client: Client
) -> None:
    """Case 31, second half: FAILED with DEADLINE_EXCEEDED at its time; attempt 0.

    FAILED and not EXPIRED: of the contract's states EXPIRED is for the time to live.
    """
    began_s = time.monotonic()
    explanation = client.explain(b"an image", model=MODEL, methods=["saliency"], timeout_s=1)
    watcher = Watcher(explanation)
    with pytest.raises(ExplanationFailedError) as raised:
        explanation.result(20)
    assert raised.value.reason is Reason.DEADLINE_EXCEEDED
    assert time.monotonic() - began_s < 1 + 1
    watcher.join(20)
    check_events(watcher.events)
    assert watcher.attempts("saliency") == [("FAILED", 0)]
    front.worker.next_ticket()
    assert front.worker.claim(explanation.name.removeprefix("explanations/")) is None
    check_nothing_left(front.worker.redis)


@pytest.mark.parametrize("taken", [False, True])
def test_a_cancel_is_at_once_and_final(front: Front, client: Client, taken: bool) -> None:
    """Case 32, queued and running: CANCELLED at once; a worker that has it may write no more."""
    explanation = client.explain(b"an image", model=MODEL, methods=["lime"])
    explanation_id = explanation.name.removeprefix("explanations/")
    watcher = Watcher(explanation)
    front.worker.next_ticket()
    attempt = front.worker.claim(explanation_id) if taken else None
    if attempt is not None:
        front.worker.predict(explanation_id, attempt)
        assert front.worker.claim(explanation_id, 0) == 1
    explanation.cancel()
    assert explanation.state is State.CANCELLED
    if attempt is not None:
        assert front.worker.progress(explanation_id, 0, 1, 10) == 0
        assert front.worker.succeed(explanation_id, 0, 1) == 0
    assert front.worker.claim(explanation_id) is None
    with pytest.raises(ExplanationCancelledError):
        explanation.result(20)
    watcher.join(20)
    check_events(watcher.events)
    check_nothing_left(front.worker.redis)


def test_what_has_ended_cannot_be_cancelled_and_keeps_its_result(
    front: Front, client: Client
) -> None:
    """Case 32, finished: FAILED_PRECONDITION; the result stays."""
    explanation = client.explain(b"an image", model=MODEL, methods=["saliency"])
    with Hands(front.redis.url):
        assert explanation.result(20).state is State.SUCCEEDED
    with pytest.raises(ExplanationEndedError):
        explanation.cancel()
    result = client.get(explanation.name).result(20)
    assert result["saliency"].values.shape == (8, 6)
    check_nothing_left(front.worker.redis)


def test_what_is_a_tenants_own_is_not_there_for_another(front: Front, tmp_path: Path) -> None:
    """Case 36: NOT_FOUND for each rpc; request ids of two tenants are strangers."""
    tenants = tmp_path / "tenants.toml"
    tenants.write_text(two_tenants())
    server, address = front.add_server("--tenants", str(tenants))
    with (
        Client(address, tls=False, token=RADIOLOGY) as radiology,
        Client(address, tls=False, token=CARDIOLOGY) as cardiology,
        Hands(front.redis.url),
    ):
        theirs = radiology.explain(
            b"an image", model=MODEL, methods=["saliency"], request_id="same"
        )
        assert theirs.result(20).state is State.SUCCEEDED
        for call in (
            lambda: cardiology.get(theirs.name),
            lambda: next(cardiology.watch(theirs.name)),
            lambda: cardiology.get("explanations/" + "0" * 32),
        ):
            with pytest.raises(ExplanationNotFoundError):
                call()
        ours = cardiology.explain(b"an image", model=MODEL, methods=["saliency"], request_id="same")
        assert ours.name != theirs.name
        assert ours.result(20).state is State.SUCCEEDED
        assert [each.name for each in cardiology.list()] == [ours.name]
    assert "an image" not in server.output()
    for secret in (RADIOLOGY, CARDIOLOGY):
        assert secret not in server.output()
    check_nothing_left(front.worker.redis)
    wait_until(lambda: front.watched() == 0, "no stream being left")


def _ask(client: Client) -> str:
    try:
        explanation = client.explain(b"an image", model=MODEL, methods=["saliency"])
    except QuotaExceededError as error:
        return "refused for now" if error.retry_after_s else "refused for good"
    return str(explanation.result(120).state.name)


@pytest.mark.long
def test_of_two_thousand_requests_at_once_each_is_done_or_refused_for_now(
    front: Front, tmp_path: Path
) -> None:
    """64 callers, limits on: completed, or refused with RetryInfo; none lost, none twice."""
    tenants = tmp_path / "tenants.toml"
    tenants.write_text("[limits]\nrequests_in_flight = 40\n")
    _, address = front.add_server("--tenants", str(tenants))
    with Client(address) as client, Hands(front.redis.url), ThreadPoolExecutor(64) as callers:
        outcomes = Counter(callers.map(_ask, [client] * 2000))
    assert set(outcomes) == {"SUCCEEDED", "refused for now"}
    assert len(front.explanations()) == outcomes["SUCCEEDED"]
    check_nothing_left(front.worker.redis)


@pytest.mark.long
def test_a_caller_that_does_not_read_costs_the_server_nothing(front: Front) -> None:
    """Case 19: the memory of the server stays; once the caller reads, the end comes last."""
    server, address = front.add_server()
    request = explain_request("lime", model=MODEL)
    with grpc.insecure_channel(address) as channel:
        stub = explanation_service_pb2_grpc.ExplanationServiceStub(channel)
        name = stub.Explain(request).name
        explanation_id = name.removeprefix("explanations/")
        front.worker.next_ticket()
        attempt = front.worker.claim(explanation_id)
        assert attempt is not None
        front.worker.predict(explanation_id, attempt)
        assert front.worker.claim(explanation_id, 0) == 1
        stream = stub.WatchExplanation(WatchExplanationRequest(name=name))
        assert next(stream).sequence == 1
        before = resident_bytes(server.pid)
        for done in range(EVENTS):
            front.worker.progress(explanation_id, 0, 1, done)
        front.worker.succeed(explanation_id, 0, 1)
        assert resident_bytes(server.pid) - before < SLACK_BYTES
        rest = list(stream)
    assert [event.sequence for event in rest] == list(range(2, EVENTS + 7))
    assert rest[-1].state_changed.state == explanation_pb2.STATE_SUCCEEDED
    check_nothing_left(front.worker.redis)
