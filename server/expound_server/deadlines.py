"""Ends what is past its deadline or its time to live."""

from functools import partial

from expound.reasons import Reason, status
from expound_server.store import Store
from expound_server.sweeps import AT_ONCE, sweep_for_ever

_DEADLINE_ERROR = status(
    Reason.DEADLINE_EXCEEDED, "the timeout of the request passed before its work was done"
).SerializeToString()
_TTL_ERROR = status(
    Reason.EXPIRED, "the ttl of the request passed before its work was done"
).SerializeToString()


async def run_deadlines(store: Store) -> None:
    """Sweeps for ever; every server may do so, for each ending is one script."""
    await sweep_for_ever(partial(store.expire, _DEADLINE_ERROR, _TTL_ERROR, AT_ONCE))
