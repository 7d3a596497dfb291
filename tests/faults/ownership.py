"""What workers own, and when it was put back for others to take."""

from dataclasses import dataclass
from typing import Any, cast

import redis

from expound import records
from expound.v1 import explanation_pb2
from expound_client import Explanation

_RUNNING = str(int(explanation_pb2.STATE_RUNNING)).encode()
_PENDING = str(int(explanation_pb2.STATE_PENDING)).encode()


@dataclass(frozen=True)
class Owned:
    """A method that a worker ran in the moment in which it was killed.

    Attributes:
        explanation_id: whose method it is.
        unit: its name in the record.
        since_us: that moment, on Redis' clock.
    """

    explanation_id: str
    unit: str
    since_us: int

    def reissued_after_s(self, client: redis.Redis) -> float | None:
        """How long it then took until others could take it; None where it ended instead."""
        store: Any = client  # its types are those of asyncio's too
        for _, event in store.xrange(records.events_key(self.explanation_id)):
            of_it = event.get(b"unit") == self.unit.encode() and event[b"state"] == _PENDING
            if of_it and int(event[b"time"]) >= self.since_us:
                return (int(event[b"time"]) - self.since_us) / 1e6
        return None


def holder(client: redis.Redis, explanation: Explanation, unit: str) -> str:
    """The worker that ran a method of an explanation last."""
    key = records.record_key(explanation.name.removeprefix("explanations/"))
    return cast(bytes, client.hget(key, f"{unit}:worker")).decode()


def owned(client: redis.Redis, worker_pid: int) -> list[Owned]:
    """The methods that a worker runs at present, under leases of their own."""
    store: Any = client
    seconds, microseconds = store.time()
    found = []
    for member in store.zrange(f"{records.PREFIX}leases", 0, -1):
        explanation_id, unit = member.decode().split()
        fields = [f"{unit}:state", f"{unit}:worker"]
        state, worker = store.hmget(records.record_key(explanation_id), fields)
        ran = state == _RUNNING and (worker or b"").endswith(f":{worker_pid}".encode())
        if ran and unit != records.EXPLAIN_UNIT:
            found.append(Owned(explanation_id, unit, seconds * 1_000_000 + microseconds))
    return found
