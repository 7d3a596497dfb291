"""A load generator: callers that wait for their answers, or arrive whether or not others wait."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from expound_client import AsyncClient
from expound_client.errors import ExpoundError

Ask = Callable[[AsyncClient], Awaitable[object]]
"""Sends one request and waits for its answer."""

_CONNECTIONS = 8


@dataclass(frozen=True)
class Load:
    """What a load came to.

    Attributes:
        seconds: how long it lasted, the last answer included.
        latencies_s: of each answer, sorted.
        refused: how many requests were turned away.
    """

    seconds: float
    latencies_s: list[float]
    refused: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """The latency in milliseconds that so many percent of the answers do not exceed."""
        last = len(self.latencies_s) - 1
        return self.latencies_s[min(last, round(percent / 100 * last))] * 1e3


def closed_loop(address: str, ask: Ask, *, callers: int, seconds: float) -> Load:
    """So many callers, each of which sends its next request when it has its answer."""

    async def call_on(client: AsyncClient, log: "_Log", ends_s: float) -> None:
        while time.perf_counter() < ends_s:
            await log.note(ask(client))

    async def run(clients: list[AsyncClient], log: "_Log") -> None:
        ends_s = time.perf_counter() + seconds
        await asyncio.gather(
            *(call_on(clients[number % len(clients)], log, ends_s) for number in range(callers))
        )

    return asyncio.run(_load(address, run))


def open_loop(address: str, ask: Ask, *, rate: float, seconds: float, seed: int = 0) -> Load:
    """Requests that arrive at random, so many a second, however many wait."""
    draw = random.Random(seed)

    async def run(clients: list[AsyncClient], log: "_Log") -> None:
        start_s, at_s = time.perf_counter(), 0.0
        async with asyncio.TaskGroup() as group:
            while at_s < seconds:
                at_s += draw.expovariate(rate)
                await asyncio.sleep(start_s + at_s - time.perf_counter())
                group.create_task(log.note(ask(draw.choice(clients))))

    return asyncio.run(_load(address, run))


class _Log:
    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.refused = 0

    async def note(self, asking: Awaitable[object]) -> None:
        start_s = time.perf_counter()
        try:
            await asking
        except ExpoundError:
            self.refused += 1
        else:
            self.latencies_s.append(time.perf_counter() - start_s)


async def _load(address: str, run: Callable[[list[AsyncClient], _Log], Awaitable[None]]) -> Load:
    log, clients = _Log(), [AsyncClient(address) for _ in range(_CONNECTIONS)]
    start_s = time.perf_counter()
    try:
        await run(clients, log)
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    return Load(time.perf_counter() - start_s, sorted(log.latencies_s), log.refused)
