"""The core of watching: every event once, in order, to as many watchers as there are."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from expound.v1 import explanation_pb2, explanation_service_pb2
from expound_server import fields, names
from expound_server.doorbell import Doorbell
from expound_server.errors import ExplanationNotFound, ServerStopping
from expound_server.events import Entry, event
from expound_server.record import Record
from expound_server.shared_reads import SharedReads
from expound_server.store import Store
from expound_server.validation import check_fields

# What an event has beside the result of a method.
_EVENT_BYTES = 1024


@dataclass(frozen=True)
class _Batch:
    """The next events of an explanation.

    Attributes:
        events: the next events, or the first of them where there are many.
        newest: sequence number of the newest event there was.
        has_ended: whether nothing comes behind that one.
    """

    events: Sequence[explanation_pb2.ExplanationEvent]
    newest: int
    has_ended: bool


class Watches:
    """The streams of events."""

    def __init__(self, store: Store, doorbell: Doorbell, max_message_bytes: int) -> None:
        self._store = store
        self._doorbell = doorbell
        self._max_result_bytes = max_message_bytes - _EVENT_BYTES
        self._batches: SharedReads[_Batch] = SharedReads()
        self._stopping = False

    def stop(self) -> None:
        """Ends all watches."""
        self._stopping = True
        self._doorbell.ring_all()

    async def watch(
        self, request: explanation_service_pb2.WatchExplanationRequest, tenant: str
    ) -> AsyncIterator[explanation_pb2.ExplanationEvent]:
        """Gives the events behind a sequence number as they come, to the one that ends it all.

        Raises:
            InvalidRequest: a field breaks its rule.
            ExplanationNotFound: there is no such explanation, or no longer.
            ServerStopping: the server drains.
        """
        check_fields(request)
        explanation_id = names.explanation_id(request.name)
        with_tensors = request.view == explanation_pb2.EXPLANATION_VIEW_FULL
        seen = request.after_sequence
        with self._doorbell.bell(explanation_id) as bell:
            record = await self._store.record(explanation_id, tenant)
            while not self._stopping:
                ring = bell.last_ring
                batch = await self._next_batch(record, seen, ring, with_tensors=with_tensors)
                for next_event in batch.events:
                    yield next_event
                    seen = next_event.sequence
                if batch.has_ended and seen >= batch.newest:
                    return
                if seen >= batch.newest:
                    await bell.wait(ring)
        raise ServerStopping

    async def _next_batch(
        self, record: Record, seen: int, ring: int, *, with_tensors: bool
    ) -> _Batch:
        # Shared by watchers that have seen the same event and heard the same ring: a read that
        # began behind that ring finds all that it told of.
        return await self._batches.read(
            (record.explanation_id, seen, ring, with_tensors),
            lambda: self._read_batch(record, seen, with_tensors=with_tensors),
        )

    async def _read_batch(self, record: Record, seen: int, *, with_tensors: bool) -> _Batch:
        tail = await self._store.tail(record.explanation_id, seen)
        keys = [method.key for method in record.request.methods]
        events = []
        for entry in tail.entries:
            result = await self._result(record, entry, with_tensors=with_tensors)
            events.append(event(entry, keys, result))
        return _Batch(events, tail.newest, fields.is_terminal(tail.state))

    async def _result(
        self, watched: Record, entry: Entry, *, with_tensors: bool
    ) -> explanation_pb2.MethodResult | None:
        """The result that an entry tells of; None for none, or when it was deleted meanwhile.

        One that a message does not hold comes without its tensors.
        """
        index = entry.succeeded
        if index is None:
            return None
        with contextlib.suppress(ExplanationNotFound):
            record = await self._store.record(watched.explanation_id, watched.tenant)
            if with_tensors:
                whole = record.result(index, await self._store.result(record.explanation_id, index))
                if whole.ByteSize() <= self._max_result_bytes:
                    return whole
            return record.result(index)
        return None
