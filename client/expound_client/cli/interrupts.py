"""Ctrl-C in commands that run an event loop."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

_Made = TypeVar("_Made")


def run(coroutine: Coroutine[Any, Any, _Made]) -> _Made:
    """Runs a coroutine to its end; Ctrl-C cancels it, and is raised when it has ended.

    `asyncio.run` alone misses a signal that comes just before the loop begins to wait: the handler
    that it installs does not wake the loop, and Ctrl-C is noticed with the next event.
    """
    try:
        return asyncio.run(_cancelled_by_signal(coroutine))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _cancelled_by_signal(coroutine: Coroutine[Any, Any, _Made]) -> _Made:
    task = asyncio.ensure_future(coroutine)
    with suppress(NotImplementedError):  # Windows: Ctrl-C is what `asyncio.run` makes of it
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    return await task
