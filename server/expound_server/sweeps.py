"""Sweeps: what every server looks after again and again, some of it at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from expound_server.cancellation import check_cancelled
from expound_server.errors import BrokerUnavailable

_log = logging.getLogger(__name__)

AT_ONCE = 100
_INTERVAL_S = 0.5


async def sweep_for_ever(sweep: Callable[[], Awaitable[int]]) -> None:
    """Sweeps twice a second, and at once again while there may be more to look after.

    Args:
        sweep: looks after what is due, `AT_ONCE` at most; gives how many there were.
    """
    while True:
        try:
            while await sweep() == AT_ONCE:
                pass
        except (RedisError, BrokerUnavailable) as error:
            _log.debug("sweep not ended: %s", error)  # health tells of Redis, once
        check_cancelled()
        await asyncio.sleep(_INTERVAL_S)
