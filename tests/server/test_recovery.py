"""What a server does about work that is nobody's: it ends it, or calls a worker again."""

import asyncio
from functools import partial

import pytest
import redis.asyncio
from google.rpc import error_details_pb2

from expound import records, tasks
from expound.reasons import Reason, reason_of
from expound.v1 import explanation_pb2
from expound.v1.explanation_service_pb2 import GetExplanationRequest, WatchExplanationRequest
from expound_server.store import Store, Unowned
from tests.processes import wait_until
from tests.server.calls import explain_request
from tests.server.conftest import Server
from tests.server.hand_worker import HandWorker

LEASES = f"{records.PREFIX}leases"
FAILED, SUCCEEDED = explanation_pb2.STATE_FAILED, explanation_pb2.STATE_SUCCEEDED


def _run_out(worker: HandWorker, *units: str) -> None:
    """Lets time pass for the leases of units, for all at once, and in this order."""
    worker.redis.zadd(LEASES, {unit: order for order, unit in enumerate(units)}, xx=True)


async def _next_ticket(worker: HandWorker, queue: str) -> list[object]:
    ticket = await asyncio.to_thread(worker.next_ticket, queue)
    arguments: list[object] = ticket["arguments"]
    return arguments


def _job(worker: HandWorker, explanation_id: str) -> None:
    """Brings an explanation so far that its method waits for a worker."""
    worker.create(explanation_id, methods=("lime",))
    attempt = worker.claim(explanation_id)
    assert attempt
    assert worker.run("offer", explanation_id, attempt, "0") == [b"0"]


@pytest.mark.parametrize(
    ("unit", "losses", "lost_in_all", "said"),
    [(records.EXPLAIN_UNIT, 2, 2, 3), ("1", 2, 4, 5), ("1", 0, 9, 10)],
)
async def test_what_was_lost_too_often_fails_and_names_its_last_worker(
    server: Server, worker: HandWorker, unit: str, losses: int, lost_in_all: int, said: int
) -> None:
    name = (await server.explanations.Explain(explain_request("saliency", "lime"))).name
    explanation_id = name.removeprefix("explanations/")
    worker.claim(explanation_id)
    first = worker.claim(explanation_id, 0)
    assert first
    worker.succeed(explanation_id, 0, first)
    if unit == "1":
        worker.claim(explanation_id, 1)
    record = records.record_key(explanation_id)
    worker.redis.hset(record, f"{unit}:losses", str(losses))
    worker.redis.hset(record, f"{unit}:lost_in_all", str(lost_in_all))
    _run_out(worker, f"{explanation_id} {unit}")
    async with asyncio.timeout(20):
        async for _ in server.explanations.WatchExplanation(WatchExplanationRequest(name=name)):
            pass
    ended = await server.explanations.GetExplanation(GetExplanationRequest(name=name))
    assert ended.state == FAILED
    assert [result.state for result in ended.results] == [SUCCEEDED, FAILED]
    for error in (ended.error, ended.results[1].error):
        assert reason_of(error) == Reason.WORKER_LOST
        info = error_details_pb2.ErrorInfo()
        assert error.details[0].Unpack(info)
        assert info.metadata == {"attempt": "1", "worker": "hand"}
        assert f"{said} workers were lost while they ran it, hand the last" in error.message


@pytest.mark.parametrize("unit", [records.EXPLAIN_UNIT, "0"])
async def test_what_another_worker_has_taken_meanwhile_is_not_ended(
    worker: HandWorker, redis_url: str, unit: str
) -> None:
    worker.create("a", methods=("lime",))
    assert worker.claim("a") == worker.claim("a", 0) == 1
    before = worker.record("a")
    async with redis.asyncio.Redis.from_url(redis_url) as connection:
        store = Store(connection, max_reuse_age_s=0)
        await store.fail(Unowned("a", unit, "default", 3, 0, "another"), b"")
        assert worker.record("a") == before
        await store.fail(Unowned("a", unit, "default", 3, 1, "hand"), b"")
    assert worker.record("a")[b"0:state"] == str(int(FAILED)).encode()


async def test_one_ticket_does_for_all_explanations_of_a_pool_and_each_job_has_its_own(
    server: Server, worker: HandWorker
) -> None:
    for explanation_id in ("a", "b"):
        worker.create(explanation_id, inputs=(explanation_id.encode(),))
    for explanation_id in ("c", "d"):
        _job(worker, explanation_id)
    _run_out(worker, "c 0", "a explain", "b explain", "d 0")
    sent = partial(worker.tickets, tasks.PERTURBATION)
    await asyncio.to_thread(wait_until, lambda: sent() == 2, "the tickets of both jobs")
    assert worker.tickets() == 1
    assert await _next_ticket(worker, tasks.GRADIENT) == ["a"]
    assert await _next_ticket(worker, tasks.PERTURBATION) == ["c", 0]
    assert await _next_ticket(worker, tasks.PERTURBATION) == ["d", 0]


async def test_no_ticket_is_sent_where_one_waits(server: Server, worker: HandWorker) -> None:
    _job(worker, "a")
    worker.create("b")
    worker.redis.lpush(tasks.queue_key(tasks.PERTURBATION), "a ticket")
    _run_out(worker, "a 0", "b explain")
    assert await _next_ticket(worker, tasks.GRADIENT) == ["b"]
    assert worker.tickets(tasks.PERTURBATION) == 1
