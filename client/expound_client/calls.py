"""The calls of the blocking client: I/O, and nothing else."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from expound.v1 import (
    explanation_pb2,
    explanation_service_pb2,
    explanation_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)
from expound_client import requests
from expound_client.errors import ExpoundError, translated
from expound_client.events import Event
from expound_client.maps import MapStream, without_maps
from expound_client.models import Model
from expound_client.retries import Retries
from expound_client.security import Token, call_metadata
from expound_client.time_limit import TimeLimit
from expound_client.watch import Watch

_Answer = TypeVar("_Answer")


class Calls:
    """Every rpc as a blocking function, with its deadline and our errors."""

    def __init__(self, channel: grpc.Channel, timeout_s: float, token: Token | None) -> None:
        self.timeout_s = timeout_s
        self._metadata = call_metadata(token)
        self._explanations = explanation_service_pb2_grpc.ExplanationServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)
        self._cards: dict[str, Model] = {}

    def explain(self, request: explanation_pb2.ExplainRequest) -> explanation_pb2.Explanation:
        """Sends a request; waits as long as it says, and then as long as any call."""
        timeout_s = self.timeout_s + requests.wait_s(request)
        return self._call(self._explanations.Explain, request, timeout_s)

    def get(self, name: str) -> explanation_pb2.Explanation:
        """Gets an explanation without its maps."""
        return self._call(self._explanations.GetExplanation, requests.get_request(name, full=False))

    def fetch(self, name: str, limit: TimeLimit) -> explanation_pb2.Explanation:
        """Gets an explanation with all its maps, also through an outage of the servers."""
        answer = self._get_full(name, limit)
        for result in without_maps(answer):
            self._stream_maps(MapStream(answer.name, result, limit))
        return answer

    def list(self) -> Iterator[explanation_pb2.Explanation]:
        """Yields all explanations, without their maps, newest first."""
        request = explanation_service_pb2.ListExplanationsRequest(page_size=requests.PAGE_SIZE)
        for page in self._pages(self._explanations.ListExplanations, request):
            yield from page.explanations

    def cancel(self, name: str) -> explanation_pb2.Explanation:
        """Cancels an explanation."""
        request = explanation_service_pb2.CancelExplanationRequest(
            name=requests.explanation_name(name)
        )
        return self._call(self._explanations.CancelExplanation, request)

    def delete(self, name: str) -> None:
        """Deletes an explanation."""
        request = explanation_service_pb2.DeleteExplanationRequest(
            name=requests.explanation_name(name)
        )
        self._call(self._explanations.DeleteExplanation, request)

    def watch(self, watch: Watch) -> Iterator[Event]:
        """Yields the events of a watch to its end, over as many streams as it takes."""
        while True:
            call = self._explanations.WatchExplanation(
                watch.request(), timeout=watch.stream_timeout_s(), metadata=self._metadata()
            )
            try:
                for message in call:
                    event = watch.read(message)
                    if event is not None:
                        yield event
                return
            except grpc.RpcError as error:
                pause_s = watch.pause_s(error)
            finally:
                call.cancel()
            time.sleep(pause_s)

    def models(self) -> Iterator[Model]:
        """Yields the cards of all models, without labels and layers."""
        request = model_service_pb2.ListModelsRequest(page_size=requests.PAGE_SIZE)
        for page in self._pages(self._models.ListModels, request):
            yield from map(Model.from_proto, page.models)

    def model(self, name: str, timeout_s: float | None = None) -> Model:
        """Gets the card of a model."""
        return Model.from_proto(
            self._call(self._models.GetModel, requests.get_model_request(name), timeout_s)
        )

    def card(self, name: str, limit: TimeLimit, version: str = "") -> Model | None:
        """The card of a model for pictures, asked for once; None where it cannot be had.

        A known card of another version is asked for again.
        """
        known = self._cards.get(name)
        if known is None or (version and known.version != version):
            try:
                self._cards[name] = self.model(name, limit.left_s(self.timeout_s))
            except ExpoundError:
                return known
        return self._cards[name]

    def _get_full(self, name: str, limit: TimeLimit) -> explanation_pb2.Explanation:
        """Gets an explanation with its maps where a message holds them."""
        request = requests.get_request(name, full=True)
        retries = Retries()
        while True:
            try:
                return self._explanations.GetExplanation(
                    request, timeout=limit.left_s(self.timeout_s), metadata=self._metadata()
                )
            except grpc.RpcError as error:
                pause_s = retries.pause_s(error)
            time.sleep(limit.left_s(pause_s))

    def _stream_maps(self, stream: MapStream) -> None:
        """Reads all maps of a result, over as many streams as it takes."""
        while True:
            call = self._explanations.StreamAttributions(
                stream.request(), timeout=stream.stream_timeout_s(), metadata=self._metadata()
            )
            try:
                for attribution in call:
                    stream.read(attribution)
                return
            except grpc.RpcError as error:
                pause_s = stream.pause_s(error)
            finally:
                call.cancel()
            time.sleep(pause_s)

    def _call(
        self, rpc: Callable[..., _Answer], request: Message, timeout_s: float | None = None
    ) -> _Answer:
        """Makes one call, which may take as long as any where nothing else is said."""
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        with translated():
            return rpc(request, timeout=timeout_s, metadata=self._metadata())

    def _pages(
        self, rpc: Callable[..., requests.Page], request: requests.ListRequest
    ) -> Iterator[requests.Page]:
        """Yields every page of a list."""
        while True:
            page = self._call(rpc, request)
            yield page
            request.page_token = page.next_page_token
            if not request.page_token:
                return
