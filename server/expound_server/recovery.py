"""Looks after work that is nobody's: its worker was lost, or its ticket."""

import logging
from functools import partial

from expound import records, tasks
from expound.reasons import Reason, status
from expound_server.broker import Broker
from expound_server.store import Store, Unowned
from expound_server.sweeps import AT_ONCE, sweep_for_ever

_log = logging.getLogger(__name__)

_MAX_LOSSES = 3
"""How many workers a unit may end without a checkpoint between."""
_MAX_LOSSES_IN_ALL = 10
"""How many it may end in all: what kills its workers may do so behind a checkpoint each time."""


async def run_recovery(store: Store, broker: Broker) -> None:
    """Sweeps for ever; every server may do so, for each step is one script."""
    await sweep_for_ever(partial(_sweep, store, broker))


async def _sweep(store: Store, broker: Broker) -> int:
    """Ends what was lost too often, and sends tickets for the rest; gives how many it saw."""
    found = await store.sweep(_MAX_LOSSES, _MAX_LOSSES_IN_ALL, AT_ONCE)
    waiting = []
    for unowned in found:
        if unowned.losses:
            _log.warning("%s of %s is given up", unowned.unit, unowned.explanation_id)
            await store.fail(unowned, _error(unowned))
        else:
            waiting.append(unowned)
    await _call_workers(store, broker, waiting)
    return len(found)


async def _call_workers(store: Store, broker: Broker, waiting: list[Unowned]) -> None:
    """Sends tickets, where none waits that would lead a worker to the work sooner or later."""
    empty: dict[str, bool] = {}
    for unowned in waiting:
        explain = unowned.unit == records.EXPLAIN_UNIT
        queue = tasks.queue(tasks.GRADIENT if explain else tasks.PERTURBATION, unowned.pool)
        if queue not in empty:
            empty[queue] = await store.tickets(queue) == 0
        if empty[queue] and explain:
            # A worker with a ticket takes all that is ready.
            empty[queue] = False
            await broker.send_explain(unowned.explanation_id, unowned.pool)
        elif empty[queue]:
            await broker.send_perturb(unowned.explanation_id, int(unowned.unit), unowned.pool)


def _error(unowned: Unowned) -> bytes:
    error = status(
        Reason.WORKER_LOST,
        f"{unowned.losses} workers were lost while they ran it, {unowned.worker} the last; the "
        f"request may be what ends them",
        metadata={"attempt": str(unowned.attempt), "worker": unowned.worker},
    )
    serialised: bytes = error.SerializeToString()
    return serialised
