"""The handle of an explanation: its name and state, and what can be done with it."""

from collections.abc import Iterator, Sequence

from expound.v1 import explanation_pb2
from expound_client.calls import Calls
from expound_client.errors import (
    DeadlineExceededError,
    ExplanationCancelledError,
    ExplanationExpiredError,
    ExplanationFailedError,
)
from expound_client.events import Event, EventReader, StateChanged
from expound_client.images import SeenImages
from expound_client.maps import without_maps
from expound_client.models import Model
from expound_client.results import ExplanationResult, State
from expound_client.time_limit import TimeLimit
from expound_client.watch import Watch

_ENDED = {
    State.FAILED: ExplanationFailedError,
    State.CANCELLED: ExplanationCancelledError,
    State.EXPIRED: ExplanationExpiredError,
}


class Handle:
    """What the handles of the blocking and the asyncio client share."""

    def __init__(
        self, answer: explanation_pb2.Explanation, sources: Sequence[explanation_pb2.Input] = ()
    ) -> None:
        self._answer = answer
        self._sources = sources
        self._state = State.from_proto(answer.state)

    @property
    def name(self) -> str:
        """Resource name, ``explanations/ID``, by which any client gets it again."""
        return self._answer.name

    @property
    def state(self) -> State:
        """State of the whole when it was last heard of: by a call, or by a watch."""
        return self._state

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._answer.request.model.removeprefix("models/")

    @property
    def methods(self) -> dict[str, str]:
        """Names of the methods by their keys, in the request's order."""
        return {
            method.key: method.WhichOneof("method") or "" for method in self._answer.request.methods
        }

    @property
    def request(self) -> explanation_pb2.ExplainRequest:
        """The request as it runs, inputs left out, every default filled in."""
        return self._answer.request

    def __repr__(self) -> str:
        """Name and state."""
        return f"<{type(self).__name__} {self.name} {self.state}>"

    @property
    def _model_version(self) -> str:
        """Version of the model that explained it; empty before a worker took it."""
        return self._answer.provenance.model_version

    def _open_watch(
        self, card: Model | None, after_sequence: int, *, limit: TimeLimit, values: bool
    ) -> Watch:
        return Watch(
            self.name,
            EventReader(self.methods, SeenImages(self._sources, card)),
            after_sequence=after_sequence,
            limit=limit,
            values=values,
        )

    def _notice(self, event: Event) -> Event:
        if isinstance(event, StateChanged):
            self._state = event.state
        return event

    def _renew(self, answer: explanation_pb2.Explanation) -> None:
        self._answer = answer
        self._state = State.from_proto(answer.state)

    def _is_whole(self) -> bool:
        """Whether the last answer has all there will be, its maps too."""
        return State.from_proto(self._answer.state).terminal and not without_maps(self._answer)

    def _conclude(self, card: Model | None, *, partial: bool) -> ExplanationResult:
        """The result of the last answer. Raises ExplanationFailedError unless all is well."""
        result = ExplanationResult.from_proto(self._answer, SeenImages(self._sources, card))
        if partial or result.state not in _ENDED:
            return result
        raise _ENDED[result.state](_summary(result), result) from result.error


class Explanation(Handle):
    """An explanation that was asked for; made by `Client.explain` and `Client.get`."""

    def __init__(
        self,
        calls: Calls,
        answer: explanation_pb2.Explanation,
        sources: Sequence[explanation_pb2.Input] = (),
    ) -> None:
        super().__init__(answer, sources)
        self._calls = calls

    def watch(
        self, after_sequence: int = 0, *, timeout_s: float | None = None, values: bool = False
    ) -> Iterator[Event]:
        """Yields its events as they happen, until it ends; takes up a stream that breaks.

        Args:
            after_sequence: sequence number of the last event already seen; 0 for all.
            timeout_s: how long to watch at most; None: to the end.
            values: whether the results of methods come with their maps, where a message holds
                them; `result` has them all.

        Raises:
            DeadlineExceededError: it had not ended after `timeout_s`.
            ExplanationNotFoundError: it was deleted.
            UnavailableError: no server could be reached for a minute.
        """
        limit = TimeLimit(timeout_s)
        card = self._calls.card(self.model, limit)
        watch = self._open_watch(card, after_sequence, limit=limit, values=values)
        for event in self._calls.watch(watch):
            yield self._notice(event)

    def result(self, timeout_s: float | None = None, *, partial: bool = False) -> ExplanationResult:
        """Waits for its end, and gives what it holds.

        Args:
            timeout_s: how long to wait at most; None: to the end.
            partial: give what there is, instead of raising, when a method failed, or when the
                time is over; to get it may then take as long again as a single call.

        Raises:
            DeadlineExceededError: it had not ended after `timeout_s`.
            ExplanationFailedError: a method failed, or the whole was cancelled or expired; the
                error carries the results of the others.
            ExplanationNotFoundError: it was deleted.
            UnavailableError: no server could be reached for a minute.
        """
        limit = TimeLimit(timeout_s)
        if not self._is_whole():
            try:
                for _ in self.watch(timeout_s=timeout_s):
                    pass
                self._renew(self._calls.fetch(self.name, limit))
            except DeadlineExceededError:
                if not partial:
                    raise
                limit = TimeLimit(self._calls.timeout_s)
                self._renew(self._calls.fetch(self.name, limit))
        card = self._calls.card(self.model, limit, self._model_version)
        return self._conclude(card, partial=partial)

    def cancel(self) -> None:
        """Ends what is not done; methods that were done keep their results.

        Raises:
            ExplanationEndedError: it had ended.
        """
        self._renew(self._calls.cancel(self.name))

    def delete(self) -> None:
        """Deletes it with all its data; work under way for it stops."""
        self._calls.delete(self.name)


def _summary(result: ExplanationResult) -> str:
    """Why an explanation ended without all its results, in one sentence."""
    reasons = [f"{key}: {error}" for key, error in result.errors.items()]
    if not reasons and result.error:
        reasons = [str(result.error)]
    state = {State.FAILED: "failed", State.CANCELLED: "was cancelled"}.get(result.state, "expired")
    return f"{result.name} {state}" + "".join(f"; {reason}" for reason in reasons)
