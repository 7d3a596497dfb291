"""One read for all who ask for the same at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

_Answer = TypeVar("_Answer")


class SharedReads(Generic[_Answer]):
    """Joins equal reads that are under way together, so that many watchers cost like one."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[_Answer]] = {}

    async def read(
        self, key: Hashable, read: Callable[[], Coroutine[Any, Any, _Answer]]
    ) -> _Answer:
        """Gives what the read gives, or raises what it raises.

        Args:
            key: equal for reads that may share an answer.
            read: the read, begun unless one with the same key is under way.
        """
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(read())
            self._under_way[key] = task
            task.add_done_callback(lambda ended: self._forget(key, ended))
        # One who gives up must not take the answer from the others.
        return await asyncio.shield(task)

    def _forget(self, key: Hashable, ended: asyncio.Task[_Answer]) -> None:
        del self._under_way[key]
        if not ended.cancelled():
            # Looked at even when all have given up, or asyncio would complain in the log.
            ended.exception()
