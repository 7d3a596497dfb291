"""The core of waiting: callers who want an explanation's end, and the tickets that lead to it."""

import time
from dataclasses import dataclass

from expound.v1 import explanation_pb2
from expound_server import fields
from expound_server.broker import Broker
from expound_server.doorbell import Bell, Doorbell
from expound_server.record import Answer
from expound_server.store import Created, Store
from expound_server.submission import Submission

# Free workers listen for what waits; who waits for the answer spares them a ticket for so long.
_TICKET_DELAY_S = 0.05


@dataclass(frozen=True)
class Wait:
    """The wait of one caller.

    Attributes:
        bell: rings at the end of the explanation.
        seen_ring: number of the last ring before the explanation was looked at.
        ends_at_s: when the wait is over, by `time.monotonic`.
    """

    bell: Bell
    seen_ring: int
    ends_at_s: float

    def left_s(self) -> float:
        """Seconds that are left; none at 0 and below."""
        return self.ends_at_s - time.monotonic()


class Waits:
    """The waits of all callers."""

    def __init__(self, store: Store, broker: Broker, doorbell: Doorbell) -> None:
        self._store = store
        self._broker = broker
        self._doorbell = doorbell
        self._stopping = False

    def stop(self) -> None:
        """Ends all waits, which give what there is."""
        self._stopping = True
        self._doorbell.ring_all()

    async def answer(self, created: Created, submission: Submission, wait: Wait) -> Answer:
        """Calls a worker if need be; gives the record at its end, or when the wait is over.

        Raises:
            BrokerUnavailable: no worker could be told.
            ExplanationNotFound: it was deleted meanwhile.
        """
        await self._call_worker(created, submission, wait)
        return await self._look(created, submission, wait)

    async def _call_worker(self, created: Created, submission: Submission, wait: Wait) -> None:
        """Sends a ticket, unless a worker that listened has done the work already."""
        if not await self._needs_ticket(created, submission):
            return
        if wait.left_s() > 0 and not self._stopping:
            await wait.bell.wait(wait.seen_ring, _TICKET_DELAY_S)
            if wait.bell.has_ended:
                return
        await self._broker.send_explain(created.explanation_id, submission.pool)

    async def _needs_ticket(self, created: Created, submission: Submission) -> bool:
        if created.outcome != "existing":
            return created.needs_ticket
        # The call that created it may have failed before it sent one.
        record = await self._store.record(created.explanation_id, submission.tenant.name)
        return record.state == explanation_pb2.STATE_PENDING

    async def _look(self, created: Created, submission: Submission, wait: Wait) -> Answer:
        """Looks whenever the bell rings, until it is the end or the wait is over."""
        method_count = len(submission.request.methods)
        seen_ring = wait.seen_ring
        while True:
            left_s = wait.left_s()
            if left_s > 0 and not self._stopping:
                await wait.bell.wait(seen_ring, left_s)
            seen_ring = wait.bell.last_ring
            if wait.bell.answer:
                return wait.bell.answer
            found = await self._store.answer(created.explanation_id, method_count)
            over = self._stopping or wait.left_s() <= 0
            if over or fields.is_terminal(found.record.state):
                return found
