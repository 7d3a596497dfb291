"""`ExplanationService` on the wire."""

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpc.aio import ServicerContext

from expound.v1 import explanation_service_pb2 as messages
from expound.v1.explanation_pb2 import Attribution, ExplainRequest, Explanation, ExplanationEvent
from expound.v1.explanation_service_pb2_grpc import ExplanationServiceServicer
from expound_server.explanations import Explanations
from expound_server.interceptors.authentication import caller
from expound_server.watches import Watches


class ExplanationServicer(ExplanationServiceServicer):
    """Hands every call to the core; what the calls do is written in the contract."""

    def __init__(self, explanations: Explanations, watches: Watches) -> None:
        self._explanations = explanations
        self._watches = watches

    async def Explain(
        self, request: ExplainRequest, context: ServicerContext[Any, Any]
    ) -> Explanation:
        """Accepts a request."""
        return await self._explanations.explain(request, caller.get(), context.time_remaining())

    async def WatchExplanation(
        self, request: messages.WatchExplanationRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[ExplanationEvent]:
        """Streams the events of an explanation."""
        async for event in self._watches.watch(request, caller.get().name):
            yield event

    async def GetExplanation(
        self, request: messages.GetExplanationRequest, context: ServicerContext[Any, Any]
    ) -> Explanation:
        """Gives one explanation."""
        return await self._explanations.get(request, caller.get())

    async def StreamAttributions(
        self, request: messages.StreamAttributionsRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[Attribution]:
        """Streams the attributions of a method."""
        async for attribution in self._explanations.attributions(request, caller.get()):
            yield attribution

    async def ListExplanations(
        self, request: messages.ListExplanationsRequest, context: ServicerContext[Any, Any]
    ) -> messages.ListExplanationsResponse:
        """Lists explanations."""
        return await self._explanations.list(request, caller.get())

    async def CancelExplanation(
        self, request: messages.CancelExplanationRequest, context: ServicerContext[Any, Any]
    ) -> Explanation:
        """Cancels an explanation."""
        return await self._explanations.cancel(request, caller.get())

    async def DeleteExplanation(
        self, request: messages.DeleteExplanationRequest, context: ServicerContext[Any, Any]
    ) -> Empty:
        """Deletes an explanation."""
        await self._explanations.delete(request, caller.get())
        return Empty()
