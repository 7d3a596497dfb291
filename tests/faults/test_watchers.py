"""Many watchers of one server, while much happens to what they watch."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from expound.records import DOORBELL
from expound.v1.explanation_service_pb2 import WatchExplanationRequest
from expound.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from expound_client import Client
from tests.faults.front import MODEL, Front
from tests.faults.invariants import check_nothing_left
from tests.processes import Process, resident_bytes, wait_until

EXPLANATIONS = 100
WATCHERS_OF_EACH = 20
CHANNELS = 20
STEPS = 20
# What 10,000 watchers may take, for each of them.
WATCHER_BYTES = 40_000


@pytest.fixture
def front() -> Iterator[Front]:
    with Front() as front:
        yield front


@pytest.mark.long
async def test_thousands_of_watchers_cost_one_subscription_and_leave_nothing(front: Front) -> None:
    """Case 24: every event to every watcher, in order; a tenth of them hang up before the end."""
    server, address = front.add_server()
    with Client(address) as client:
        names = [
            client.explain(b"an image", model=MODEL, methods=["lime"], seed=number).name
            for number in range(EXPLANATIONS)
        ]
    before = resident_bytes(server.pid)
    # Channels of one process share a connection unless they are told not to.
    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, own) for _ in range(CHANNELS)]
    watches: list[Any] = []
    for channel in (channels[number % CHANNELS] for number in range(WATCHERS_OF_EACH)):
        stub = ExplanationServiceStub(channel)
        more = [stub.WatchExplanation(WatchExplanationRequest(name=name)) for name in names]
        firsts: list[Any] = await asyncio.gather(*(watch.read() for watch in more))
        assert {first.sequence for first in firsts} == {1}
        watches += more
    assert (resident_bytes(server.pid) - before) / len(watches) < WATCHER_BYTES
    assert front.watched() == 1
    assert _subscriptions(front) == 1
    staying, leaving = watches[: -2 * EXPLANATIONS], watches[-2 * EXPLANATIONS :]
    collecting = [asyncio.create_task(_rest(watch)) for watch in staying]
    await asyncio.to_thread(_work, front, names)
    for watch in leaving:
        watch.cancel()
    ends = await asyncio.to_thread(_end, front, names)
    async with asyncio.timeout(120):
        for number, sequences in enumerate(await asyncio.gather(*collecting)):
            assert sequences == list(range(2, ends[number % EXPLANATIONS] + 1))
    for channel in channels:
        await channel.close()
    await asyncio.to_thread(
        wait_until, lambda: _ended(server) == len(watches), "the end of all streams", 30
    )
    wait_until(lambda: front.watched() == 0, "the server listening for no progress", 5)
    assert _subscriptions(front) == 1
    check_nothing_left(front.worker.redis)


async def _rest(watch: Any) -> list[int]:
    sequences = []
    while (event := await watch.read()) is not grpc.aio.EOF:
        sequences.append(event.sequence)
    return sequences


def _work(front: Front, names: list[str]) -> None:
    """Takes all explanations, and tells of many steps of each."""
    for name in names:
        explanation_id = name.removeprefix("explanations/")
        attempt = front.worker.claim(explanation_id)
        assert attempt == 1
        front.worker.predict(explanation_id, attempt)
        assert front.worker.claim(explanation_id, 0) == 1
    for step in range(STEPS):
        for name in names:
            explanation_id = name.removeprefix("explanations/")
            front.worker.run("renew", explanation_id, "explain", 1, explanation_id, "0", 1)
            assert front.worker.progress(explanation_id, 0, 1, step) == 1


def _end(front: Front, names: list[str]) -> list[int]:
    """Ends all explanations; gives how many events each has."""
    for name in names:
        assert front.worker.succeed(name.removeprefix("explanations/"), 0, 1) == 1
        front.worker.next_ticket()
    return [
        int(front.worker.record(name.removeprefix("explanations/"))[b"sequence"]) for name in names
    ]


def _subscriptions(front: Front) -> int:
    ((_, count),) = front.worker.redis.pubsub_numsub(DOORBELL)
    return int(count)


def _ended(server: Process) -> int:
    """How many watches the server has seen the end of."""
    return len(re.findall("WatchExplanation [A-Z_]+ ", server.output()))
