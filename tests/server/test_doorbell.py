"""The doorbell, beyond what watches and waiting calls show of it."""

import asyncio

import msgpack
import pytest

from expound.records import ANSWERS, DOORBELL_PROGRESS
from expound.v1.explanation_service_pb2 import WatchExplanationRequest
from expound_server import doorbell
from expound_server.doorbell import Bell
from tests.processes import wait_until
from tests.server.calls import explain_request
from tests.server.conftest import Server
from tests.server.hand_worker import HandWorker


async def test_who_waits_long_looks_again_though_nothing_rings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doorbell, "_LOOK_AGAIN_S", 0.05)
    async with asyncio.timeout(10):
        await Bell(last_ring=3).wait(seen_ring=3, timeout_s=600)


async def test_a_ring_before_the_wait_ends_it_at_once() -> None:
    bell = Bell(last_ring=3)
    bell.ring(4)
    async with asyncio.timeout(5):  # a wait for the next ring would last for 10 s
        await bell.wait(seen_ring=3)


async def test_what_comes_before_the_end_is_heard_of_only_while_somebody_watches(
    server: Server, worker: HandWorker
) -> None:
    async def until_heard(times: int) -> None:
        def is_heard() -> bool:
            return worker.redis.pubsub_numsub(DOORBELL_PROGRESS) == [
                (DOORBELL_PROGRESS.encode(), times)
            ]

        await asyncio.to_thread(wait_until, is_heard, f"{times} subscriptions")

    name = (await server.explanations.Explain(explain_request())).name
    await until_heard(0)
    for _ in range(2):
        watch = server.explanations.WatchExplanation(WatchExplanationRequest(name=name))
        await anext(aiter(watch))
        await until_heard(1)
        watch.cancel()
        await until_heard(0)


async def test_an_answer_that_nobody_waits_for_any_more_is_passed_over(
    server: Server, worker: HandWorker
) -> None:
    [channel] = worker.redis.pubsub_channels(f"{ANSWERS}*")
    worker.redis.publish(channel, msgpack.packb((b"nobody's", ([], []))))
    name = (await server.explanations.Explain(explain_request())).name
    events = aiter(server.explanations.WatchExplanation(WatchExplanationRequest(name=name)))
    await anext(events)
    worker.work_off(name.removeprefix("explanations/"))
    async with asyncio.timeout(8):  # without a ring it looks again after 10 s
        assert [event.sequence async for event in events] == [2, 3, 4, 5, 6]
