"""Explanations in Redis: every change is one script of the contract, every read one round trip."""

from collections.abc import AsyncGenerator
from typing import Any, NamedTuple, cast

import msgpack
from redis.asyncio import Redis

from expound import records, tasks
from expound.v1 import explanation_pb2, worker_pb2
from expound_server import fields
from expound_server.errors import ExplanationNotFound
from expound_server.events import Entry, Tail
from expound_server.names import explanation_name
from expound_server.quotas import refusal
from expound_server.record import Answer, Record, answer
from expound_server.submission import Submission

_SCRIPTS = ("create", "end", "expire", "sweep", "finish", "delete", "workers")
_ENTRIES_AT_ONCE = 100
_RECORDS_AT_ONCE = 100


class Created(NamedTuple):
    """What became of a submission that was not refused.

    Attributes:
        outcome: "created", "reused" when it is answered already, "existing" or "conflict".
        explanation_id: id of the explanation that is there now.
        needs_ticket: whether a worker has to be told; else one that was told takes it too.
        answer: its answer, of what is reused.
    """

    outcome: str
    explanation_id: str
    needs_ticket: bool
    answer: Answer | None


class Unowned(NamedTuple):
    """A unit of work that is nobody's.

    Attributes:
        explanation_id: id of its explanation.
        unit: its name in the record.
        pool: pool of the explanation's model.
        losses: how many workers were lost while they ran it, where it is to be ended for that;
            else 0.
        attempt: number of the newest attempt at it; 0 for none.
        worker: the worker of that attempt, where it was lost; else "".
    """

    explanation_id: str
    unit: str
    pool: str
    losses: int
    attempt: int
    worker: str


class Store:
    """The explanations and workers that Redis knows."""

    def __init__(self, redis: Redis, max_reuse_age_s: float) -> None:
        self._redis = redis
        self._max_reuse_age_us = round(max_reuse_age_s * 1e6)
        self._scripts = {name: redis.register_script(records.script(name)) for name in _SCRIPTS}

    async def create(
        self,
        explanation_id: str,
        submission: Submission,
        max_waiting: int,
        waiting: str,
    ) -> Created:
        """Stores what was submitted, under the id given unless its request id is known.

        Args:
            explanation_id: the id.
            submission: what was submitted.
            max_waiting: how much work may wait in the pool before it; 0 for any.
            waiting: the server where its caller waits for the answer; "" where none does.

        Raises:
            QuotaExceeded: the tenant asks for more than it may.
            QueueFull: so much waits already.
        """
        request, tenant = submission.request, submission.tenant
        asked = {
            "id": explanation_id,
            "request_id": request.request_id,
            "hash": submission.digest,
            "tenant": tenant.name,
            "model": submission.model,
            "pool": submission.pool,
            "methods": len(request.methods),
            "timeout_us": request.timeout.ToMicroseconds(),
            "ttl_us": request.ttl.ToMicroseconds(),
            "group": submission.group,
            "lasting": submission.lasting,
            "weights": submission.weights,
            "questions": submission.questions if self._max_reuse_age_us else (),
            "max_reuse_age_us": self._max_reuse_age_us,
            "waiting": waiting,
            "max_waiting": max_waiting,
            "requests_in_flight": tenant.limits.requests_in_flight,
            "images_per_minute": tenant.limits.images_per_minute,
            "stored_bytes": tenant.limits.stored_bytes,
        }
        outcome, found, number, *answered = await self._run(
            "create", msgpack.packb(asked), request.SerializeToString(), *submission.inputs
        )
        if outcome == b"refused":
            raise refusal(found.decode(), int(number) / 1e6, tenant, max_waiting)
        id_ = found.decode()
        answered_by = answer(id_, *answered[0]) if answered else None
        return Created(outcome.decode(), id_, bool(number), answered_by)

    async def record(self, explanation_id: str, tenant: str) -> Record:
        """Reads a record. Raises ExplanationNotFound for none, and for another tenant's."""
        hash_ = await self._redis.hgetall(records.record_key(explanation_id))
        record = Record(explanation_id, cast(dict[bytes, bytes], hash_))
        if not hash_ or record.tenant != tenant:
            raise ExplanationNotFound(explanation_name(explanation_id))
        return record

    async def results(self, record: Record, most_bytes: int) -> dict[int, bytes]:
        """Reads the serialised results of a record's methods, by index.

        Gives none, and reads none, where they take more than `most_bytes` together. Raises
        ExplanationNotFound when it was deleted meanwhile.
        """
        indices = record.succeeded()
        if not indices:
            return {}
        keys = [records.result_key(record.explanation_id, index) for index in indices]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.strlen(key)
            if sum(await pipeline.execute()) > most_bytes:
                return {}
        results = cast(list[bytes | None], await self._redis.mget(keys))
        found = {
            index: result
            for index, result in zip(indices, results, strict=True)
            if result is not None
        }
        if len(found) < len(indices):
            raise ExplanationNotFound(explanation_name(record.explanation_id))
        return found

    async def answer(self, explanation_id: str, method_count: int) -> Answer:
        """Reads a record and the results of its methods at once. Raises ExplanationNotFound."""
        keys = [records.result_key(explanation_id, index) for index in range(method_count)]
        # In this order, and no transaction, which a full Redis refuses: what the record says to be
        # done was written with its result.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(records.record_key(explanation_id))
            pipeline.mget(keys)
            hash_, results = await pipeline.execute()
        record = Record(explanation_id, hash_)
        found = {index: result for index, result in enumerate(results) if result is not None}
        if not hash_ or not found.keys() >= set(record.succeeded()):
            raise ExplanationNotFound(explanation_name(explanation_id))
        return Answer(record, found)

    async def result(self, explanation_id: str, index: int) -> bytes:
        """Reads the serialised result of one method. Raises ExplanationNotFound for none."""
        result = await self._redis.get(records.result_key(explanation_id, index))
        if result is None:
            raise ExplanationNotFound(explanation_name(explanation_id))
        return cast(bytes, result)

    async def tail(self, explanation_id: str, after_sequence: int) -> Tail:
        """Reads what lies behind a sequence number. Raises ExplanationNotFound."""
        # In this order, and no transaction, which a full Redis refuses: an event that is newer than
        # the state is read again with the next ring.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(records.record_key(explanation_id), ["state", "sequence"])
            pipeline.xrange(
                records.events_key(explanation_id),
                min=f"({after_sequence}-0",
                count=_ENTRIES_AT_ONCE,
            )
            (state, newest), entries = await pipeline.execute()
        if state is None:
            raise ExplanationNotFound(explanation_name(explanation_id))
        return Tail(
            fields.state(state),
            int(newest),
            [Entry(int(entry_id.split(b"-")[0]), entry) for entry_id, entry in entries],
        )

    async def newest(self, tenant: str, before_us: int | None) -> AsyncGenerator[Record, None]:
        """Reads a tenant's records created before a time, newest first.

        The times of creation are Redis' own, in microseconds, and so tell records apart.
        """
        index = records.index_key(tenant)
        while True:
            found = await self._redis.zrange(
                index,
                "+inf" if before_us is None else f"({before_us}",
                "-inf",
                desc=True,
                byscore=True,
                offset=0,
                num=_RECORDS_AT_ONCE,
                withscores=True,
            )
            entries = cast(list[tuple[bytes, float]], found)
            if not entries:
                return
            for member, created_us in entries:
                before_us = int(created_us)
                try:
                    yield await self.record(member.decode(), tenant)
                except ExplanationNotFound:
                    await self._redis.zrem(index, member)

    async def end(
        self, explanation_id: str, state: explanation_pb2.State.ValueType, error: bytes
    ) -> bool:
        """Ends what is unfinished; False when nothing was. Raises ExplanationNotFound."""
        ended = await self._run("end", explanation_id, state, error, "", "")
        if ended is None:
            raise ExplanationNotFound(explanation_name(explanation_id))
        return bool(ended)

    async def expire(self, deadline_error: bytes, ttl_error: bytes, limit: int) -> int:
        """Ends what is past its deadline or ttl; gives how many were due, at most `limit`."""
        return int(await self._run("expire", deadline_error, ttl_error, limit))

    async def sweep(self, max_losses: int, max_in_all: int, limit: int) -> list[Unowned]:
        """Looks after the units whose lease has run out, at most `limit`; see `sweep.lua`."""
        return [
            Unowned(
                explanation_id.decode(),
                unit.decode(),
                pool.decode(),
                losses,
                int(attempt),
                worker.decode(),
            )
            for explanation_id, unit, pool, losses, attempt, worker in await self._run(
                "sweep", max_losses, max_in_all, limit
            )
        ]

    async def fail(self, unowned: Unowned, error: bytes) -> None:
        """Ends a lost unit with an error, unless its worker has ended it after all."""
        state = explanation_pb2.STATE_FAILED
        lost = (unowned.unit, unowned.attempt)
        if unowned.unit == records.EXPLAIN_UNIT:
            await self._run("end", unowned.explanation_id, state, error, *lost)
        else:
            await self._run("finish", unowned.explanation_id, *lost, state, error, b"", b"")

    async def tickets(self, queue: str) -> int:
        """How many tickets wait in a queue."""
        return await self._redis.llen(tasks.queue_key(queue))

    async def delete(self, explanation_id: str) -> None:
        """Deletes an explanation. Raises ExplanationNotFound."""
        if not await self._run("delete", explanation_id):
            raise ExplanationNotFound(explanation_name(explanation_id))

    async def workers(self) -> list[worker_pb2.WorkerCard]:
        """Reads the cards of the live workers."""
        return [worker_pb2.WorkerCard.FromString(card) for card in await self._run("workers")]

    async def _run(self, name: str, *arguments: str | int | bytes) -> Any:
        return await self._scripts[name](keys=[records.PREFIX], args=arguments)
