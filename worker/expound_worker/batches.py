"""Runs items as one batch, so that one bad item fails alone."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from expound_worker.process.accelerator import end_if_lost

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_halves(
    run: Callable[[Sequence[Item]], list[Answer]], items: Sequence[Item]
) -> list[Answer | Exception]:
    """Runs all items together; where that fails, each half of them.

    Args:
        run: gives one answer an item, or raises.
        items: what to run.

    An error that means that the device is lost ends the process.

    Returns:
        The answers in order, with the exception in place of that of an item that fails alone.
    """
    if not items:
        return []
    try:
        return list(run(items))
    except Exception as error:
        end_if_lost(error)
        if len(items) == 1:
            return [error]
    middle = len(items) // 2
    return in_halves(run, items[:middle]) + in_halves(run, items[middle:])
