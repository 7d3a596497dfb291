"""What `watch` yields: the things that happen to an explanation, as they happen."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from expound.tensors import from_tensor
from expound.v1 import explanation_pb2
from expound_client.attribution import Attribution
from expound_client.errors import ExpoundError
from expound_client.images import SeenImages
from expound_client.results import (
    MethodResult,
    Prediction,
    Progress,
    State,
    error_of,
)


@dataclass(frozen=True)
class StateChanged:
    """The whole changed its state; `error` says why, where it failed."""

    sequence: int
    time: datetime.datetime
    state: State
    error: ExpoundError | None


@dataclass(frozen=True)
class PredictionsReady:
    """The model's predictions are known, one an input."""

    sequence: int
    time: datetime.datetime
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class MethodStateChanged:
    """A method changed its state.

    Attributes:
        sequence: number of the event, from 1, without a gap.
        time: when it happened.
        key: key of the method.
        state: its new state.
        error: why, where it failed.
        attempt: number of times a worker took it, from 1; 0 before.
        result: its result, where it succeeded; its maps only where `watch` was asked for them.
    """

    sequence: int
    time: datetime.datetime
    key: str
    state: State
    error: ExpoundError | None
    attempt: int
    result: MethodResult | None = field(repr=False)


@dataclass(frozen=True)
class MethodProgressed:
    """A method got further.

    Attributes:
        sequence: number of the event, from 1, without a gap.
        time: when it happened.
        key: key of the method.
        progress: how far it is.
        partials: the maps as they stand, of the inputs that are under way; they can be drawn like
            any other, by `Attribution.error_bars` as soon as they have `standard_errors`. Empty for
            methods that cannot tell them early. An input's segments come with its first partial map
            alone: a watch that begins behind it gives weights, and `values` and pictures raise
            ExpoundError.
    """

    sequence: int
    time: datetime.datetime
    key: str
    progress: Progress
    partials: tuple[Attribution, ...] = field(repr=False)


Event: TypeAlias = StateChanged | PredictionsReady | MethodStateChanged | MethodProgressed


class EventReader:
    """Reads the events of one explanation; remembers the segments, which are sent only once."""

    def __init__(self, methods: dict[str, str], seen: SeenImages) -> None:
        """Makes a reader; `methods` holds the name of each method by its key."""
        self._methods = methods
        self._seen = seen
        self._segments: dict[tuple[str, int], NDArray[np.int32]] = {}
        self._readers: dict[
            str, Callable[[explanation_pb2.ExplanationEvent, datetime.datetime], Event]
        ] = {
            "state_changed": self._state_changed,
            "predictions_ready": self._predictions_ready,
            "method_state_changed": self._method_state_changed,
            "method_progressed": self._method_progressed,
        }

    def read(self, message: explanation_pb2.ExplanationEvent) -> Event | None:
        """Reads one event; None for a kind that this client does not know."""
        kind = message.WhichOneof("event")
        if kind is None:
            return None
        return self._readers[kind](message, message.time.ToDatetime(tzinfo=datetime.UTC))

    def _state_changed(
        self, message: explanation_pb2.ExplanationEvent, time: datetime.datetime
    ) -> StateChanged:
        change = message.state_changed
        return StateChanged(
            message.sequence, time, State.from_proto(change.state), error_of(change.error)
        )

    def _predictions_ready(
        self, message: explanation_pb2.ExplanationEvent, time: datetime.datetime
    ) -> PredictionsReady:
        predictions = map(Prediction.from_proto, message.predictions_ready.predictions)
        return PredictionsReady(message.sequence, time, tuple(predictions))

    def _method_state_changed(
        self, message: explanation_pb2.ExplanationEvent, time: datetime.datetime
    ) -> MethodStateChanged:
        change = message.method_state_changed
        has_result = change.HasField("result")
        return MethodStateChanged(
            sequence=message.sequence,
            time=time,
            key=change.key,
            state=State.from_proto(change.state),
            error=error_of(change.error),
            attempt=change.attempt,
            result=MethodResult.from_proto(change.result, self._seen) if has_result else None,
        )

    def _method_progressed(
        self, message: explanation_pb2.ExplanationEvent, time: datetime.datetime
    ) -> MethodProgressed:
        further = message.method_progressed
        return MethodProgressed(
            sequence=message.sequence,
            time=time,
            key=further.key,
            progress=Progress.from_proto(further.progress),
            partials=tuple(self._partial(further.key, partial) for partial in further.partials),
        )

    def _partial(self, key: str, message: explanation_pb2.Attribution) -> Attribution:
        place = (key, message.input_index)
        if message.HasField("segments"):
            self._segments[place] = from_tensor(message.segments).astype(np.int32)
        return Attribution.from_proto(
            message,
            key,
            self._methods.get(key, key),
            self._seen[message.input_index],
            self._segments.get(place),
        )
