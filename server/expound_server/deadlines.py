"""Ends what is past its deadline or its time to live."""

import asyncio
import logging

from redis.exceptions import RedisError

from expound.reasons import Reason, status
from expound_server.cancellation import check_cancelled
from expound_server.store import Store

_log = logging.getLogger(__name__)

_INTERVAL_S = 0.5
_AT_ONCE = 100
_DEADLINE_ERROR = status(
    Reason.DEADLINE_EXCEEDED, "the timeout of the request passed before its work was done"
).SerializeToString()
_TTL_ERROR = status(
    Reason.EXPIRED, "the ttl of the request passed before its work was done"
).SerializeToString()


async def run_deadlines(store: Store) -> None:
    """Sweeps for ever; every server may do so, for each ending is one script."""
    while True:
        try:
            while await store.expire(_DEADLINE_ERROR, _TTL_ERROR, _AT_ONCE) == _AT_ONCE:
                pass
        except RedisError as error:
            _log.debug("deadlines not checked: %s", error)  # health tells of Redis, and once
        check_cancelled()
        await asyncio.sleep(_INTERVAL_S)
