"""Servers that stop, die or hang up, and callers that vanish: nobody misses or repeats a thing."""

import asyncio
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from expound_client import AsyncClient, AsyncExplanation, Client, Event, State
from tests.faults.front import MODEL, Front, Hands
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.proxy import Proxy
from tests.faults.watcher import Watcher
from tests.processes import Process, wait_until

GRACE_S = 3
STREAMS = 100
SUBMITS = 20
# The keepalive of a server, and a second.
NOTICED_S = 20 + 5 + 1

WATCH = """
import sys
from expound_client import Client
with Client(sys.argv[1]) as client:
    for event in client.watch(sys.argv[2]):
        print(event.sequence, flush=True)
"""


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front() as front:
        yield front


@pytest.fixture(autouse=True)
def _empty(front: Front) -> None:
    front.clear()


def _both(*addresses: str) -> str:
    """The one name of several servers."""
    return "ipv4:" + ",".join(addresses)


async def _watch(explanation: AsyncExplanation, seen: asyncio.Semaphore) -> list[Event]:
    events: list[Event] = []
    async for event in explanation.watch():
        if not events:
            seen.release()
        events.append(event)
    return events


async def _explain(client: AsyncClient) -> AsyncExplanation:
    return await client.explain(b"an image", model=MODEL, methods=["saliency", "lime"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_when_a_server_ends_its_streams_and_calls_go_on_with_another(
    front: Front, number: int
) -> None:
    """Cases 20 and 21: no gap, no repeat, nothing lost, nothing twice; a drain exits with 0."""
    first, first_address = front.add_server("--grace-s", str(GRACE_S))
    second, second_address = front.add_server()
    async with AsyncClient(_both(first_address, second_address)) as client:
        watched = await _explain(client)
        seen = asyncio.Semaphore(0)
        watching = [asyncio.create_task(_watch(watched, seen)) for _ in range(STREAMS)]
        async with asyncio.timeout(30):
            for _ in range(STREAMS):
                await seen.acquire()
        asking = [asyncio.create_task(_explain(client)) for _ in range(SUBMITS)]
        await asyncio.sleep(0)
        began_s = time.monotonic()
        first.signal(number)
        asked = await asyncio.wait_for(asyncio.gather(*asking), 60)
        await _check_end(first, number, began_s)
        with Hands(front.redis.url) as hands:
            streams = await asyncio.wait_for(asyncio.gather(*watching), 60)
            for explanation in asked:
                assert (await explanation.result(60)).state is State.SUCCEEDED
    for events in streams:
        check_events(events)
        assert [event.sequence for event in events] == [e.sequence for e in streams[0]]
    names = {explanation.name for explanation in (watched, *asked)}
    assert {f"explanations/{each}" for each in front.explanations()} == names
    assert len(names) == SUBMITS + 1
    assert set(hands.runs.values()) == {1}
    check_nothing_left(front.worker.redis)
    second.check_alive()


async def _check_end(server: Process, number: int, began_s: float) -> None:
    assert server.process is not None
    code = await asyncio.to_thread(server.process.wait, 30)
    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    assert time.monotonic() - began_s < GRACE_S + 2 or number == signal.SIGKILL


@pytest.mark.long
def test_connections_that_end_every_two_seconds_are_not_noticed(front: Front) -> None:
    """Case 23: at least ten streams one after the other look like one to the caller."""
    server, address = front.add_server("--max-connection-age-s", "2", "--grace-s", "0.2")
    with Client(address) as client:
        explanation = client.explain(b"an image", model=MODEL, methods=["lime"])
        watcher = Watcher(explanation)
        explanation_id = explanation.name.removeprefix("explanations/")
        attempt = front.worker.claim(explanation_id)
        assert attempt is not None
        front.worker.predict(explanation_id, attempt)
        job = front.worker.claim(explanation_id, 0)
        assert job is not None
        front.worker.next_ticket()
        pause = threading.Event()
        while _streams(server) < 10:
            seen = len(watcher.events)
            front.worker.run("renew", explanation_id, "explain", attempt)
            front.worker.run("renew", explanation_id, "0", job)
            assert front.worker.progress(explanation_id, 0, job, seen) == 1
            wait_until(partial(watcher.has_seen, seen + 1), "the step being seen", 20)
            pause.wait(0.2)
        front.worker.succeed(explanation_id, 0, job)
        watcher.join(20)
        check_events(watcher.events)
        assert watcher.attempts("lime") == [("RUNNING", 1), ("SUCCEEDED", 1)]
        assert explanation.result(20).state is State.SUCCEEDED
    check_nothing_left(front.worker.redis)


def _streams(server: Process) -> int:
    """How many watches a server has seen the end of."""
    return len(re.findall("WatchExplanation [A-Z_]+ ", server.output()))


def test_when_the_process_of_a_caller_dies_its_stream_ends_and_the_work_does_not(
    front: Front,
) -> None:
    """Case 18: the handler ends within a second, and the server listens for it no more."""
    server, address = front.add_server()
    with Client(address) as client:
        explanation = client.explain(b"an image", model=MODEL, methods=["saliency"])
        caller = subprocess.Popen(
            [sys.executable, "-c", WATCH, address, explanation.name], stdout=subprocess.PIPE
        )
        with caller:
            assert caller.stdout is not None
            assert caller.stdout.readline() == b"1\n"
            wait_until(lambda: front.watched() == 1, "the server listening for it")
            caller.kill()
        wait_until(lambda: "WatchExplanation CANCELLED" in server.output(), "its end", 1)
        wait_until(lambda: front.watched() == 0, "the server listening no more", 1)
        with Hands(front.redis.url):
            assert explanation.result(20).state is State.SUCCEEDED
    check_nothing_left(front.worker.redis)


@pytest.mark.long
def test_a_caller_that_is_cut_off_goes_on_and_its_dead_stream_is_ended(front: Front) -> None:
    """Case 17: both ends notice by their keepalives; no gap, no repeat; the job goes on."""
    server, address = front.add_server()
    port = int(address.rpartition(":")[2])
    with Proxy(port) as proxy, Client(f"127.0.0.1:{proxy.port}") as client:
        explanation = client.explain(b"an image", model=MODEL, methods=["saliency"])
        watcher = Watcher(explanation)
        wait_until(lambda: len(watcher.events) == 1, "the first event")
        proxy.swallowing = True
        wait_until(
            lambda: "WatchExplanation CANCELLED" in server.output(),
            "the end of the dead stream",
            NOTICED_S,
        )
        assert front.watched() == 0
        proxy.swallowing = False
        with Hands(front.redis.url):
            watcher.join(60)
        check_events(watcher.events)
        assert watcher.attempts("saliency") == [("RUNNING", 1), ("SUCCEEDED", 1)]
    check_nothing_left(front.worker.redis)
