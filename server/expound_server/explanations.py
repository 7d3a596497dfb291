"""The core: takes requests in, and tells what became of them. Knows no gRPC and no Celery."""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping

from expound.parameters import Violation
from expound.reasons import Reason, status
from expound.v1 import explanation_pb2, explanation_service_pb2
from expound_server import names, pages
from expound_server.admission import prepare
from expound_server.catalogue import Catalogue
from expound_server.doorbell import Doorbell
from expound_server.errors import (
    AnswerTooLarge,
    ExplanationEnded,
    InvalidRequest,
    MapTooLarge,
    RequestIdReused,
    RequestTooLarge,
    named,
)
from expound_server.record import Record
from expound_server.store import Store
from expound_server.tenants import Tenant
from expound_server.validation import check_fields
from expound_server.waits import Wait, Waits

_DEFAULT_PAGE_SIZE = 25
_NO_RING = -1
_PAGE_KIND = "explanations"
# What a page has beside its explanations: its token, and how long each of them is.
_PAGE_ENDS_BYTES = 1024
# So much before the caller's own deadline, a wait ends with what there is.
_ANSWER_S = 0.1
_CANCELLED = status(Reason.CANCELLED, "the explanation was cancelled").SerializeToString()


class Explanations:
    """All that can be asked about explanations.

    Every method raises InvalidRequest for a field that breaks its rule, ExplanationNotFound for
    an explanation that is not there or another tenant's, and redis-py's errors when Redis is away.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        doorbell: Doorbell,
        waits: Waits,
        max_message_bytes: int,
        max_waiting: int,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._doorbell = doorbell
        self._waits = waits
        self._max_message_bytes = max_message_bytes
        self._max_waiting = max_waiting

    async def explain(
        self, request: explanation_pb2.ExplainRequest, tenant: Tenant, time_left_s: float | None
    ) -> explanation_pb2.Explanation:
        """Accepts a request, and waits for its end as long as it asks.

        Args:
            request: the request; its defaults are filled in, and its inputs taken out.
            tenant: who asks.
            time_left_s: time until the caller gives up; None for never.

        Raises:
            ModelNotFound: no live worker serves the model.
            NoWorker: no worker lives.
            MethodNotImplemented: the workers of the model lack a method.
            MethodUnsupported: a method cannot explain the model.
            QuotaExceeded: the tenant asks for more than it may.
            RequestTooLarge: it leaves no room for its answer.
            QueueFull: too much work waits already.
            RequestIdReused: the request id belongs to another request.
            BrokerUnavailable: it is stored, but no worker could be told.
        """
        ends_at_s = time.monotonic() + _wait_s(request, time_left_s)
        submission = await prepare(request, tenant, self._catalogue)
        self._check_room(submission.request)
        if request.validate_only:
            return explanation_pb2.Explanation(request=submission.request)
        explanation_id = names.new_explanation_id()
        # Its bell is there before it is, so that nothing is missed, and nothing need be read before
        # it has rung.
        with self._doorbell.bell(explanation_id, at_end=True) as bell:
            ring = bell.last_ring
            waiting = self._doorbell.name if ends_at_s > time.monotonic() else ""
            created = await self._store.create(
                explanation_id, submission, self._max_waiting, waiting
            )
            if created.answer:
                return self._fitting(*created.answer)
            if created.outcome == "created":
                wait = Wait(bell, ring, ends_at_s)
                return self._fitting(*await self._waits.answer(created, submission, wait))
        if created.outcome == "conflict":
            name = names.explanation_name(created.explanation_id)
            raise RequestIdReused(request.request_id, name)
        with self._doorbell.bell(created.explanation_id, at_end=True) as bell:
            wait = Wait(bell, _NO_RING, ends_at_s)
            return self._fitting(*await self._waits.answer(created, submission, wait))

    async def get(
        self, request: explanation_service_pb2.GetExplanationRequest, tenant: Tenant
    ) -> explanation_pb2.Explanation:
        """Gives one explanation."""
        check_fields(request)
        record = await self._store.record(names.explanation_id(request.name), tenant.name)
        if request.view == explanation_pb2.EXPLANATION_VIEW_BASIC:
            return self._checked(record.explanation())
        return await self._read(record)

    async def attributions(
        self, request: explanation_service_pb2.StreamAttributionsRequest, tenant: Tenant
    ) -> AsyncIterator[explanation_pb2.Attribution]:
        """Gives the attributions of one method. Raises MapTooLarge for one above the limit."""
        check_fields(request)
        record = await self._store.record(names.explanation_id(request.name), tenant.name)
        index = _method_index(record, request.key)
        if index not in record.succeeded():
            return
        stored = await self._store.result(record.explanation_id, index)
        result = explanation_pb2.MethodResult.FromString(stored)
        for attribution in result.attributions[request.skip :]:
            if attribution.ByteSize() > self._max_message_bytes:
                limit = self._max_message_bytes
                raise MapTooLarge(request.name, attribution.ByteSize(), limit)
            yield attribution

    async def list(
        self, request: explanation_service_pb2.ListExplanationsRequest, tenant: Tenant
    ) -> explanation_service_pb2.ListExplanationsResponse:
        """Gives a page of a tenant's explanations, newest first, which fits into one message."""
        check_fields(request)
        page_size = pages.size(request.page_size, _DEFAULT_PAGE_SIZE)
        page = explanation_service_pb2.ListExplanationsResponse()
        before_us: int | None = None
        if request.page_token:
            before_us = pages.position(_PAGE_KIND, request.page_token, int)
        async with contextlib.aclosing(self._store.newest(tenant.name, before_us)) as found:
            async for record in found:
                explanation = self._on_a_page(record)
                room = self._max_message_bytes - page.ByteSize() - _PAGE_ENDS_BYTES
                is_full = len(page.explanations) == page_size or explanation.ByteSize() > room
                if page.explanations and is_full:
                    page.next_page_token = pages.token(_PAGE_KIND, before_us)
                    break
                page.explanations.append(explanation)
                before_us = record.create_time_us
        return page

    async def cancel(
        self, request: explanation_service_pb2.CancelExplanationRequest, tenant: Tenant
    ) -> explanation_pb2.Explanation:
        """Cancels what is unfinished. Raises ExplanationEnded when nothing is."""
        explanation_id = names.explanation_id(request.name)
        await self._store.record(explanation_id, tenant.name)
        cancelled = explanation_pb2.STATE_CANCELLED
        if not await self._store.end(explanation_id, cancelled, _CANCELLED):
            raise ExplanationEnded(request.name)
        record = await self._store.record(explanation_id, tenant.name)
        return await self._read(record)

    async def delete(
        self, request: explanation_service_pb2.DeleteExplanationRequest, tenant: Tenant
    ) -> None:
        """Deletes an explanation and all its data."""
        record = await self._store.record(names.explanation_id(request.name), tenant.name)
        await self._store.delete(record.explanation_id)

    def _check_room(self, request: explanation_pb2.ExplainRequest) -> None:
        """Raises RequestTooLarge: every answer repeats the request, and has more to tell."""
        limit = self._max_message_bytes // 2
        if request.ByteSize() > limit:
            raise RequestTooLarge(request.ByteSize(), limit)

    def _on_a_page(self, record: Record) -> explanation_pb2.Explanation:
        """All but its tensors; without results and predictions where these do not fit on a page."""
        explanation = record.explanation()
        if explanation.ByteSize() > self._max_message_bytes - _PAGE_ENDS_BYTES:
            explanation.ClearField("results")
            explanation.ClearField("predictions")
        return explanation

    async def _read(self, record: Record) -> explanation_pb2.Explanation:
        results = await self._store.results(record, self._max_message_bytes)
        return self._fitting(record, results)

    def _fitting(self, record: Record, results: Mapping[int, bytes]) -> explanation_pb2.Explanation:
        """The whole, or all but its tensors where a message does not hold them: it was done."""
        # Nothing is made of results that are too large by themselves: they may be gigabytes.
        if sum(map(len, results.values())) <= self._max_message_bytes:
            whole = record.explanation(results)
            if whole.ByteSize() <= self._max_message_bytes:
                return whole
        return self._checked(record.explanation())

    def _checked(self, explanation: explanation_pb2.Explanation) -> explanation_pb2.Explanation:
        if explanation.ByteSize() > self._max_message_bytes:
            raise AnswerTooLarge(explanation.name, explanation.ByteSize(), self._max_message_bytes)
        return explanation


def _method_index(record: Record, key: str) -> int:
    keys = [method.key for method in record.request.methods]
    if key not in keys:
        raise InvalidRequest([Violation("key", f"is not one of {named(keys)}")])
    return keys.index(key)


def _wait_s(request: explanation_pb2.ExplainRequest, time_left_s: float | None) -> float:
    asked_s = request.wait.seconds + request.wait.nanos / 1e9
    return asked_s if time_left_s is None else min(asked_s, time_left_s - _ANSWER_S)
