"""The doorbell, beyond what watches and waiting calls show of it."""

import asyncio

import pytest

from expound_server import doorbell
from expound_server.doorbell import Bell


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
