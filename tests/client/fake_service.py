"""A service that answers with a canned explanation, over a real gRPC channel."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.empty_pb2 import Empty
from google.rpc import status_pb2
from grpc_status import rpc_status

from expound.reasons import Reason, status
from expound.v1 import (
    explanation_pb2,
    explanation_service_pb2,
    explanation_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)
from expound.v1.explanation_pb2 import OutputOptions
from tests.client import canned


class FakeService(
    explanation_service_pb2_grpc.ExplanationServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """Both services; what they answer and how they fail is set by the test.

    Attributes:
        requests: every request that came in, by the name of its rpc, in order.
        authorizations: the metadata `authorization` of every call, in order; "" for none.
        times_left_s: how long each call might still take when it came in, by the name of its rpc.
        refusals: what the next calls of an rpc are refused with, in order.
        breaks_after: for each next watch, the number of events after which its stream breaks.
        fits: whether a message holds the maps of an answer.
        maps_break_after: for each next stream of maps, the number of them after which it breaks.
        fails: whether lime fails.
        predicts: whether there are predictions; all methods fail without.
        held: a watch stops before its last event until this is set.
        state: state of the explanation.
        card: card of its model.
        others: cards of other models that are served.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.authorizations: list[str] = []
        self.requests: dict[str, list[object]] = {}
        self.times_left_s: dict[str, list[float]] = {}
        self.refusals: dict[str, list[status_pb2.Status]] = {}
        self.breaks_after: list[int] = []
        self.fits = True
        self.maps_break_after: list[int] = []
        self.fails = False
        self.predicts = True
        self.held = threading.Event()
        self.held.set()
        self.watching = threading.Event()
        self.watch_ended = threading.Event()
        self.state = explanation_pb2.STATE_PENDING
        self.card = canned.card()
        self.others: list[model_service_pb2.Model] = []
        self._request = explanation_pb2.ExplainRequest()
        self._server = grpc.server(ThreadPoolExecutor(8))
        explanation_service_pb2_grpc.add_ExplanationServiceServicer_to_server(self, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, self._server)
        if credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.held.set()
        self._server.stop(None).wait(10)

    def Explain(
        self, request: explanation_pb2.ExplainRequest, context: grpc.ServicerContext
    ) -> explanation_pb2.Explanation:
        self._admit("Explain", request, context)
        self._request.CopyFrom(request)
        self._request.ClearField("inputs")
        for method in self._request.methods:
            method.key = method.key or str(method.WhichOneof("method"))
        if request.wait.seconds:
            self.state = self._end_state()
        return self._explanation(tensors=self.fits)

    def WatchExplanation(
        self,
        request: explanation_service_pb2.WatchExplanationRequest,
        context: grpc.ServicerContext,
    ) -> Iterator[explanation_pb2.ExplanationEvent]:
        self._admit("WatchExplanation", request, context)
        self._check_name(request.name, context)
        context.add_callback(self.watch_ended.set)
        self.watching.set()
        left = self.breaks_after.pop(0) if self.breaks_after else None
        tensors = request.view == explanation_pb2.EXPLANATION_VIEW_FULL
        events = self._events(tensors=tensors)
        for event in events[request.after_sequence :]:
            if event is events[-1]:
                self.held.wait(30)
                self.state = self._end_state()
            if left == 0:
                _abort(context, status(Reason.SERVER_STOPPING, "stopping"))
            yield event
            left = None if left is None else left - 1

    def GetExplanation(
        self, request: explanation_service_pb2.GetExplanationRequest, context: grpc.ServicerContext
    ) -> explanation_pb2.Explanation:
        self._admit("GetExplanation", request, context)
        self._check_name(request.name, context)
        full = request.view == explanation_pb2.EXPLANATION_VIEW_FULL
        return self._explanation(tensors=full and self.fits)

    def StreamAttributions(
        self,
        request: explanation_service_pb2.StreamAttributionsRequest,
        context: grpc.ServicerContext,
    ) -> Iterator[explanation_pb2.Attribution]:
        self._admit("StreamAttributions", request, context)
        self._check_name(request.name, context)
        left = self.maps_break_after.pop(0) if self.maps_break_after else None
        (result,) = [
            each for each in self._explanation(tensors=True).results if each.key == request.key
        ]
        for number, attribution in enumerate([*result.attributions[request.skip :], None]):
            if left == number:
                _abort(context, status(Reason.SERVER_STOPPING, "stopping"))
            if attribution:
                yield attribution

    def ListExplanations(
        self,
        request: explanation_service_pb2.ListExplanationsRequest,
        context: grpc.ServicerContext,
    ) -> explanation_service_pb2.ListExplanationsResponse:
        self._admit("ListExplanations", request, context)
        number = int(request.page_token or 0)
        page = explanation_service_pb2.ListExplanationsResponse(
            explanations=[self._explanation(tensors=False)]
        )
        page.explanations[0].name = f"explanations/{number:032x}"
        page.next_page_token = str(number + 1) if number < 2 else ""
        return page

    def CancelExplanation(
        self,
        request: explanation_service_pb2.CancelExplanationRequest,
        context: grpc.ServicerContext,
    ) -> explanation_pb2.Explanation:
        self._admit("CancelExplanation", request, context)
        if self.state not in (explanation_pb2.STATE_PENDING, explanation_pb2.STATE_RUNNING):
            _abort(context, status(Reason.EXPLANATION_ENDED, "it has ended"))
        self.state = explanation_pb2.STATE_CANCELLED
        self.held.set()
        return self._explanation(tensors=False)

    def DeleteExplanation(
        self,
        request: explanation_service_pb2.DeleteExplanationRequest,
        context: grpc.ServicerContext,
    ) -> Empty:
        self._admit("DeleteExplanation", request, context)
        self._check_name(request.name, context)
        return Empty()

    def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.ListModelsResponse:
        self._admit("ListModels", request, context)
        return model_service_pb2.ListModelsResponse(models=[self.card, *self.others])

    def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.Model:
        self._admit("GetModel", request, context)
        if request.name != self.card.name:
            message = f"no live worker serves {request.name}"
            _abort(context, status(Reason.MODEL_NOT_FOUND, message))
        return self.card

    def _admit(self, rpc: str, request: object, context: grpc.ServicerContext) -> None:
        """Notes a call; refuses it if the test said so."""
        self.requests.setdefault(rpc, []).append(request)
        self.times_left_s.setdefault(rpc, []).append(context.time_remaining())
        metadata = dict(context.invocation_metadata())
        self.authorizations.append(str(metadata.get("authorization", "")))
        if self.refusals.get(rpc):
            _abort(context, self.refusals[rpc].pop(0))

    def _check_name(self, name: str, context: grpc.ServicerContext) -> None:
        if name != canned.NAME:
            _abort(context, status(Reason.EXPLANATION_NOT_FOUND, f"there is no {name}"))

    def _end_state(self) -> explanation_pb2.State.ValueType:
        if self.state == explanation_pb2.STATE_CANCELLED:
            return self.state
        if self.fails or not self.predicts:
            return explanation_pb2.STATE_FAILED
        return explanation_pb2.STATE_SUCCEEDED

    def _method_fails(self, name: str) -> bool:
        return not self.predicts or (self.fails and name == "lime")

    def _explanation(self, *, tensors: bool) -> explanation_pb2.Explanation:
        made = explanation_pb2.Explanation(name=canned.NAME, state=self.state)
        made.request.CopyFrom(self._request)
        ended = made.state in (explanation_pb2.STATE_SUCCEEDED, explanation_pb2.STATE_FAILED)
        for method in made.request.methods:
            name = str(method.WhichOneof("method"))
            if ended:
                failed = self._method_fails(name)
                made.results.append(canned.result(method.key, name, tensors=tensors, failed=failed))
                if tensors and made.request.output.encoding == OutputOptions.ENCODING_PNG:
                    canned.as_pictures(made.results[-1])
                made.error.CopyFrom(made.results[-1].error)
            else:
                made.results.add(key=method.key, method=name, state=made.state)
        made.predictions.extend([canned.prediction()] if ended and self.predicts else [])
        made.provenance.CopyFrom(
            explanation_pb2.Provenance(model="small", model_version=self.card.version, device="cpu")
        )
        made.create_time.FromSeconds(1_000)
        return made

    def _events(self, *, tensors: bool) -> list[explanation_pb2.ExplanationEvent]:
        """The history of the explanation: ten events where it has saliency and lime."""
        events = []
        running = explanation_pb2.StateChanged(state=explanation_pb2.STATE_RUNNING)
        events.append(explanation_pb2.ExplanationEvent(state_changed=running))
        if self.predicts:
            predictions = explanation_pb2.PredictionsReady(predictions=[canned.prediction()])
            events.append(explanation_pb2.ExplanationEvent(predictions_ready=predictions))
        # A kind that this client does not know.
        events.append(explanation_pb2.ExplanationEvent())
        for method in self._request.methods:
            events += self._method_events(method.key, str(method.WhichOneof("method")), tensors)
        end = explanation_pb2.StateChanged(state=self._end_state())
        events.append(explanation_pb2.ExplanationEvent(state_changed=end))
        for sequence, event in enumerate(events, 1):
            event.sequence = sequence
            event.time.FromSeconds(1_000 + sequence)
        return events

    def _method_events(
        self, key: str, name: str, tensors: bool
    ) -> list[explanation_pb2.ExplanationEvent]:
        steps = range(1, 4) if name == "lime" else ()
        result = canned.result(key, name, tensors=tensors, failed=self._method_fails(name))
        return [
            explanation_pb2.ExplanationEvent(
                method_state_changed=explanation_pb2.MethodStateChanged(
                    key=key, state=explanation_pb2.STATE_RUNNING, attempt=1
                )
            ),
            *(
                explanation_pb2.ExplanationEvent(
                    method_progressed=explanation_pb2.MethodProgressed(
                        key=key,
                        progress=explanation_pb2.Progress(
                            evaluations_done=25 * step, evaluations_total=100, standard_error=0.1
                        ),
                        partials=[canned.partial(step, with_segments=step == 1)],
                    )
                )
                for step in steps
            ),
            explanation_pb2.ExplanationEvent(
                method_state_changed=explanation_pb2.MethodStateChanged(
                    key=key,
                    state=result.state,
                    error=result.error,
                    attempt=1,
                    result=result if result.attributions else None,
                )
            ),
        ]


def _abort(context: grpc.ServicerContext, refusal: status_pb2.Status) -> None:
    context.abort_with_status(rpc_status.to_status(refusal))


def raised_by(service: FakeService, refusal: status_pb2.Status) -> grpc.RpcError:
    """What a call raises that the service refuses."""
    service.refusals["ListModels"] = [refusal]
    with grpc.insecure_channel(service.address) as channel:
        try:
            model_service_pb2_grpc.ModelServiceStub(channel).ListModels(
                model_service_pb2.ListModelsRequest(), timeout=10
            )
        except grpc.RpcError as error:
            return error
    raise AssertionError("it was not refused")
