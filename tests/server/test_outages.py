"""The client's watches and results through restarts of the server and connections that end."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from expound_client import AsyncClient, AsyncExplanation, Event, State, StateChanged
from expound_server.settings import Settings
from tests.processes import free_port, wait_until
from tests.server.conftest import running
from tests.server.hand_worker import HandWorker
from tests.server.server_process import address_of, server_process

STEPS = 5


class Watcher:
    """Collects the events of an explanation, and its result at the end."""

    def __init__(self, explanation: AsyncExplanation) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()
        self._explanation = explanation
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        async for event in self._explanation.watch():
            self.events.append(event)
            self._more.set()

    async def seen(self, count: int) -> None:
        """Waits until it has seen so many events."""
        async with asyncio.timeout(60):
            while len(self.events) < count:
                self._more.clear()
                await self._more.wait()

    async def end(self) -> list[int]:
        """Waits for the end; gives the sequence numbers of all events."""
        await asyncio.wait_for(self._watching, 60)
        assert [type(event) for event in self.events][-1] is StateChanged
        return [event.sequence for event in self.events]


async def _explain(client: AsyncClient) -> AsyncExplanation:
    return await client.explain(b"an image", model="tiny", methods=["lime"])


def _begin(worker: HandWorker, explanation: AsyncExplanation) -> tuple[str, int]:
    """Claims the explanation and its method; gives its id and the method's attempt."""
    explanation_id = explanation.name.removeprefix("explanations/")
    first = worker.claim(explanation_id)
    assert first == 1
    worker.predict(explanation_id, first)
    attempt = worker.claim(explanation_id, 0)
    assert attempt == 1
    return explanation_id, attempt


async def _one_more(count: Callable[[], int]) -> None:
    before = count()
    await asyncio.to_thread(wait_until, lambda: count() > before, "one more")


async def test_a_server_that_is_killed_and_comes_back_is_not_noticed(
    redis_url: str, worker: HandWorker
) -> None:
    port = str(free_port())
    options = ("--port", port)
    with server_process(redis_url, *options) as process:
        async with AsyncClient(await asyncio.to_thread(address_of, process)) as client:
            explanation = await _explain(client)
            watcher = Watcher(explanation)
            result = asyncio.create_task(explanation.result(60))
            explanation_id, attempt = _begin(worker, explanation)
            await watcher.seen(4)
            await asyncio.to_thread(process.kill)
            worker.progress(explanation_id, 0, attempt, 10)
            with server_process(redis_url, *options) as second:
                await asyncio.to_thread(address_of, second)
                worker.progress(explanation_id, 0, attempt, 20)
                worker.succeed(explanation_id, 0, attempt)
                assert await watcher.end() == [1, 2, 3, 4, 5, 6, 7, 8]
                assert (await result).state is State.SUCCEEDED


async def test_a_result_is_fetched_though_the_server_is_away_at_the_end(
    redis_url: str, worker: HandWorker
) -> None:
    port = str(free_port())
    options = ("--port", port)
    with server_process(redis_url, *options) as process:
        async with AsyncClient(await asyncio.to_thread(address_of, process)) as client:
            explanation = await _explain(client)
            await asyncio.to_thread(process.kill)
            worker.work_off(explanation.name.removeprefix("explanations/"))
            result = asyncio.create_task(explanation.result(60))
            with server_process(redis_url, *options) as second:
                assert (await result).state is State.SUCCEEDED
                second.check_alive()


async def test_connections_that_end_of_age_are_not_noticed(
    settings: Settings, worker: HandWorker, caplog: pytest.LogCaptureFixture
) -> None:
    def streams() -> int:
        ended = [message for message in caplog.messages if "WatchExplanation" in message]
        return len(ended)

    caplog.set_level(logging.INFO)
    settings = replace(settings, max_connection_age_s=0.3, grace_s=0.1)
    async with running(settings) as server, AsyncClient(server.address) as client:
        explanation = await _explain(client)
        watcher = Watcher(explanation)
        explanation_id, attempt = _begin(worker, explanation)
        for step in range(STEPS):
            await _one_more(streams)
            worker.progress(explanation_id, 0, attempt, step + 1)
            await watcher.seen(5 + step)
        worker.succeed(explanation_id, 0, attempt)
        assert await watcher.end() == list(range(1, 5 + STEPS + 2))
        assert (await explanation.result(60)).state is State.SUCCEEDED
