"""Cancels that got lost."""

import asyncio


def check_cancelled() -> None:
    """Raises CancelledError when the current task was cancelled, even if it did not notice.

    Before Python 3.12, `asyncio.wait_for`, with which redis-py sends every command, swallows a
    cancel that comes in the moment in which it ends. Whatever loops over Redis checks here.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
