"""Redis that hangs, is full, forgets, or whose replies are lost; seen from outside the server."""

import hashlib
import signal
import statistics
import time
from collections.abc import Iterator

import grpc
import pytest

from expound import records, tasks
from expound.reasons import Reason
from expound.v1 import explanation_service_pb2_grpc
from expound_client import Client, State
from expound_client.errors import ExplanationNotFoundError, ResourceExhaustedError, UnavailableError
from tests.faults.front import MODEL, Front, Hands, is_serving
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.proxy import Proxy
from tests.faults.watcher import Watcher
from tests.processes import wait_until
from tests.server.calls import explain_request, read_refusal

QUEUE = tasks.queue_key(tasks.GRADIENT)
CREATE = hashlib.sha1(records.script("create").encode()).hexdigest().encode()
# The lease of a ticket, a look of the sweeper, and a second.
REISSUED_S = 10 + 0.5 + 1


@pytest.fixture
def client(running: tuple[Front, str], front: Front) -> Iterator[Client]:
    with Client(running[1]) as connected:
        yield connected


def _ask(client: Client, request_id: str = "") -> str:
    asked = client.explain(b"an image", model=MODEL, methods=["saliency"], request_id=request_id)
    return asked.name.removeprefix("explanations/")


async def test_while_redis_hangs_calls_are_unavailable_in_time_and_none_is_done_twice(
    running: tuple[Front, str], front: Front
) -> None:
    """Case 8: UNAVAILABLE in time, NOT_SERVING; the loop goes on; afterwards one record."""
    request = explain_request(model=MODEL)
    request.request_id = "asked-while-redis-hangs"
    async with grpc.aio.insecure_channel(running[1]) as channel:
        stub = explanation_service_pb2_grpc.ExplanationServiceStub(channel)
        front.redis.signal(signal.SIGSTOP)
        try:
            began_s = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.Explain(request, timeout=8)
            assert time.monotonic() - began_s < 8 + 1
            refused = read_refusal(raised.value)
            assert (refused.code, refused.reason) == (
                grpc.StatusCode.UNAVAILABLE,
                Reason.REDIS_UNAVAILABLE,
            )
            assert refused.retry_after_s == 1
            wait_until(lambda: not is_serving(running[1]), "NOT_SERVING", 8)
            assert statistics.median(_answer_times_s(running[1])) < 0.1
        finally:
            front.redis.signal(signal.SIGCONT)
        wait_until(lambda: is_serving(running[1]), "SERVING again", 8)
        name = (await stub.Explain(request)).name
    assert front.explanations() == [name.removeprefix("explanations/")]
    with Hands(front.redis.url) as hands, Client(running[1]) as client:
        assert client.get(name).result(20).state is State.SUCCEEDED
    assert hands.runs.total() == 1
    check_nothing_left(front.worker.redis)


def _answer_times_s(address: str) -> list[float]:
    times_s = []
    for _ in range(20):
        began_s = time.monotonic()
        is_serving(address)
        times_s.append(time.monotonic() - began_s)
    return times_s


def test_a_full_redis_is_told_as_such_and_work_goes_on_when_there_is_room(
    front: Front, client: Client
) -> None:
    """Case 10: RESOURCE_EXHAUSTED with RetryInfo, nothing stored; what was accepted is done.

    When there is room again, so is everything else.
    """
    first = client.explain(b"an image", model=MODEL, methods=["saliency"])
    store = front.worker.redis
    store.config_set("maxmemory-policy", "noeviction")
    store.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResourceExhaustedError) as raised:
            _ask(client)
        assert raised.value.reason is Reason.REDIS_FULL
        assert raised.value.retry_after_s is not None
        assert len(front.explanations()) == 1
        with Hands(front.redis.url):
            wait_until(lambda: client.get(first.name).state is State.SUCCEEDED, "its end", 20)
    finally:
        store.config_set("maxmemory", 0)
    with Hands(front.redis.url):
        assert first.result(20).state is State.SUCCEEDED
        second = client.explain(b"an image", model=MODEL, methods=["saliency"])
        assert second.result(20).state is State.SUCCEEDED
    check_nothing_left(store)


def test_an_explanation_whose_acceptance_is_lost_on_the_way_is_there_once(front: Front) -> None:
    """Case 11: the client's own retry gives the same explanation: one record, one run."""
    with Proxy(front.redis.port) as proxy:
        _, address = front.add_server(redis_port=proxy.port)
        with Client(address) as client, Hands(front.redis.url) as hands:
            first = client.explain(b"an image", model=MODEL, methods=["saliency"])
            assert first.result(20).state is State.SUCCEEDED
            proxy.lose_reply_to(CREATE)
            second = client.explain(b"an image", model=MODEL, methods=["saliency"])
            watcher = Watcher(second)
            assert second.result(20).state is State.SUCCEEDED
            watcher.join(20)
            assert proxy.lost == 1
            assert sorted(front.explanations()) == sorted(
                each.name.removeprefix("explanations/") for each in (first, second)
            )
            assert set(hands.runs.values()) == {1}
            check_events(watcher.events)
            assert watcher.attempts("saliency") == [("RUNNING", 1), ("SUCCEEDED", 1)]
    check_nothing_left(front.worker.redis)


@pytest.mark.long
@pytest.mark.parametrize("lost", ["ticket", "broker"])
def test_lost_tickets_are_sent_again(front: Front, client: Client, lost: str) -> None:
    """Cases 14 and 15: sent again within the lease of a ticket, a look and a second."""
    asked = [client.explain(b"an image", model=MODEL, methods=["saliency"]) for _ in range(2)]
    store = front.worker.redis
    wait_until(lambda: front.worker.tickets() > 0, "the first ticket")
    if lost == "ticket":
        store.delete(QUEUE)
    else:
        for key in [*store.keys("expound:celery:*"), *store.keys("_kombu*")]:
            store.delete(key)
    wait_until(lambda: front.worker.tickets() > 0, "another ticket", REISSUED_S)
    with Hands(front.redis.url):
        for explanation in asked:
            watcher = Watcher(explanation)
            assert explanation.result(20).state is State.SUCCEEDED
            watcher.join(20)
            check_events(watcher.events)
            assert watcher.attempts("saliency") == [("RUNNING", 1), ("SUCCEEDED", 1)]
    check_nothing_left(store)


@pytest.mark.long
def test_what_redis_has_forgotten_is_not_found_and_can_be_asked_for_again(
    front: Front, client: Client
) -> None:
    """Case 6: NOT_FOUND, at once and for watchers too; the same request id is free again.

    The reason is EXPLANATION_NOT_FOUND: what was lost cannot be told from what never was.
    """
    request_id = "asked-before-redis-forgot"
    first = client.explain(b"an image", model=MODEL, methods=["saliency"], request_id=request_id)
    events = first.watch(timeout_s=20)
    next(events)
    front.clear()
    with pytest.raises(ExplanationNotFoundError):
        client.get(first.name)
    with pytest.raises(ExplanationNotFoundError):
        next(events)
    with Hands(front.redis.url):
        second = client.explain(
            b"an image", model=MODEL, methods=["saliency"], request_id=request_id
        )
        assert second.result(20).state is State.SUCCEEDED
    assert second.name != first.name
    check_nothing_left(front.worker.redis)


def test_a_redis_that_cannot_write_to_its_disk_is_unavailable_until_it_can(
    front: Front, client: Client
) -> None:
    """Case 34: UNAVAILABLE, nothing stored and nothing called done; recovers by itself."""
    first = client.explain(b"an image", model=MODEL, methods=["saliency"])
    store = front.worker.redis
    folder = str(store.config_get("dir")["dir"])
    store.config_set("dir", "/proc")
    store.config_set("save", "3600 1")
    store.bgsave()
    wait_until(lambda: _last_save(front) == "err", "a snapshot failing")
    try:
        with pytest.raises(UnavailableError) as raised:
            _ask(client)
        assert raised.value.reason is Reason.REDIS_UNAVAILABLE
        with Hands(front.redis.url):
            assert len(front.explanations()) == 1
            assert client.get(first.name).state is State.PENDING
    finally:
        store.config_set("dir", folder)
        store.config_set("save", "")
    with Hands(front.redis.url):
        assert first.result(20).state is State.SUCCEEDED
        assert client.get(_ask(client)).result(20).state is State.SUCCEEDED
    check_nothing_left(store)


def _last_save(front: Front) -> str:
    return str(front.worker.redis.info("persistence")["rdb_last_bgsave_status"])
