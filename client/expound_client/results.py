"""Results: what an explanation holds, as plain Python."""

import datetime
import html
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2
from PIL import Image

from expound.v1 import explanation_pb2
from expound_client import errors
from expound_client.attribution import Attribution, ClassScore
from expound_client.errors import ExpoundError
from expound_client.images import SeenImage, SeenImages
from expound_client.report import to_html
from expound_client.result_grid import to_grid


class State(StrEnum):
    """State of an explanation, or of one of its methods."""

    PENDING = "PENDING"
    """Accepted, and waiting for a worker."""
    RUNNING = "RUNNING"
    """A worker has it."""
    SUCCEEDED = "SUCCEEDED"
    """Done."""
    FAILED = "FAILED"
    """Ended by an error."""
    CANCELLED = "CANCELLED"
    """Cancelled."""
    EXPIRED = "EXPIRED"
    """Its time to live was over before its work was done."""

    @property
    def terminal(self) -> bool:
        """Whether it is for good."""
        return self not in (State.PENDING, State.RUNNING)

    @classmethod
    def from_proto(cls, value: explanation_pb2.State.ValueType) -> Self:
        """Reads the enum of the contract."""
        return cls(explanation_pb2.State.Name(value).removeprefix("STATE_"))


@dataclass(frozen=True)
class Prediction:
    """What the model says of one input: the most probable classes, best first."""

    classes: tuple[ClassScore, ...]

    @classmethod
    def from_proto(cls, message: explanation_pb2.Prediction) -> Self:
        """Reads the message of the contract."""
        return cls(tuple(ClassScore.from_proto(score) for score in message.classes))


@dataclass(frozen=True)
class Progress:
    """How far a method is, over all inputs.

    Attributes:
        evaluations_done: forward passes of one image that are done.
        evaluations_total: those planned; a method that stops early stays below it.
        time_left_s: estimated time left in seconds; None until it can be told, and at the end.
        standard_error: largest standard error of any segment; None for methods without.
    """

    evaluations_done: int
    evaluations_total: int
    time_left_s: float | None
    standard_error: float | None

    @classmethod
    def from_proto(cls, message: explanation_pb2.Progress) -> Self:
        """Reads the message of the contract."""
        told = message.HasField("time_left")
        return cls(
            message.evaluations_done,
            message.evaluations_total,
            message.time_left.ToTimedelta().total_seconds() if told else None,
            message.standard_error if message.HasField("standard_error") else None,
        )


@dataclass(frozen=True)
class Provenance:
    """What an explanation was made of and by.

    Attributes:
        model: name of the model.
        model_version: version of its entry.
        model_digest: SHA-256 of its weights, hexadecimal.
        input_digests: SHA-256 of every input as it was sent, hexadecimal.
        seed: seed of everything random.
        library_versions: version of each library that had a part in it.
        device: device the model ran on.
        worker: worker that made the predictions and the gradient methods.
    """

    model: str
    model_version: str
    model_digest: str
    input_digests: tuple[str, ...]
    seed: int
    library_versions: dict[str, str]
    device: str
    worker: str

    @classmethod
    def from_proto(cls, message: explanation_pb2.Provenance) -> Self:
        """Reads the message of the contract."""
        return cls(
            model=message.model.removeprefix("models/"),
            model_version=message.model_version,
            model_digest=message.model_digest,
            input_digests=tuple(message.input_digests),
            seed=message.seed,
            library_versions=dict(message.library_versions),
            device=message.device,
            worker=message.worker,
        )


@dataclass(frozen=True)
class MethodResult:
    """Result of one method.

    Attributes:
        key: key of the method in the request.
        method: name of the method.
        state: state of the method.
        error: why it failed, when it did.
        attributions: one an input and target: inputs in order, targets best first within each.
        progress: how far it is, or was.
        attempt: number of times a worker took it, from 1; 0 before.
        start_time: when a worker took it; None before.
        end_time: when it ended; None before.
        reused: whether it is the result of an earlier explanation to the same question.
    """

    key: str
    method: str
    state: State
    error: ExpoundError | None
    attributions: tuple[Attribution, ...] = field(repr=False)
    progress: Progress
    attempt: int
    start_time: datetime.datetime | None
    end_time: datetime.datetime | None
    reused: bool

    @property
    def duration_s(self) -> float | None:
        """Seconds from when a worker took it to its end; None before."""
        if self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()

    @classmethod
    def from_proto(cls, message: explanation_pb2.MethodResult, seen: SeenImages) -> Self:
        """Reads the message of the contract; `seen` are the inputs of the request."""
        return cls(
            key=message.key,
            method=message.method,
            state=State.from_proto(message.state),
            error=error_of(message.error),
            attributions=tuple(
                Attribution.from_proto(
                    attribution, message.key, message.method, seen[attribution.input_index]
                )
                for attribution in message.attributions
            ),
            progress=Progress.from_proto(message.progress),
            attempt=message.attempt,
            start_time=time_of(message.start_time),
            end_time=time_of(message.end_time),
            reused=message.reused,
        )


@dataclass(frozen=True, eq=False)
class ExplanationResult(Mapping[str, Attribution]):
    """What an explanation holds: maps by the keys of their methods, predictions and provenance.

    As a mapping it gives, for each method that has a result, its attribution of the first input
    and its best target; `attributions` gives them all.

    Attributes:
        name: resource name of the explanation.
        state: state of the whole.
        error: why the whole failed, when it did.
        model: name of the model.
        predictions: the model's predictions, one an input.
        methods: state, error and attributions of every method, by key, in the request's order.
        provenance: what it was made of and by.
        request: the request as it ran, inputs left out, every default filled in; the contract's
            own message.
        create_time: when it was accepted.
        end_time: when it ended; None before.
        reused: whether all of it is the answer of earlier explanations to the same questions.
    """

    name: str
    state: State
    error: ExpoundError | None
    model: str
    predictions: tuple[Prediction, ...] = field(repr=False)
    methods: dict[str, MethodResult] = field(repr=False)
    provenance: Provenance = field(repr=False)
    request: explanation_pb2.ExplainRequest = field(repr=False)
    create_time: datetime.datetime | None
    end_time: datetime.datetime | None
    reused: bool
    _seen: SeenImages = field(repr=False)

    @classmethod
    def from_proto(cls, message: explanation_pb2.Explanation, seen: SeenImages) -> Self:
        """Reads the message of the contract; `seen` are the inputs of the request."""
        return cls(
            name=message.name,
            state=State.from_proto(message.state),
            error=error_of(message.error),
            model=message.request.model.removeprefix("models/"),
            predictions=tuple(map(Prediction.from_proto, message.predictions)),
            methods={each.key: MethodResult.from_proto(each, seen) for each in message.results},
            provenance=Provenance.from_proto(message.provenance),
            request=message.request,
            create_time=time_of(message.create_time),
            end_time=time_of(message.end_time),
            reused=message.reused,
            _seen=seen,
        )

    def __getitem__(self, key: str) -> Attribution:
        """The attribution of the first input and its best target; KeyError says why there is none.

        A key that the request does not have is told beside those that it has.
        """
        return self.attributions(key)[0]

    def __iter__(self) -> Iterator[str]:
        return (key for key, method in self.methods.items() if method.attributions)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def errors(self) -> dict[str, ExpoundError]:
        """Errors of the methods that failed, by key."""
        return {key: method.error for key, method in self.methods.items() if method.error}

    def attributions(self, key: str, input_index: int | None = None) -> tuple[Attribution, ...]:
        """All attributions of a method: inputs in order, targets best first within each.

        Args:
            key: key of the method.
            input_index: index of the input whose attributions alone are wanted, from 0.

        Raises:
            KeyError: the request has no such method, or it has no result.
        """
        if key not in self.methods:
            raise KeyError(f"{key!r} is not one of {', '.join(self.methods)}")
        method = self.methods[key]
        if not method.attributions:
            raise KeyError(f"{key!r} has no result: {method.error or method.state}")
        if input_index is None:
            return method.attributions
        return tuple(each for each in method.attributions if each.input_index == input_index)

    def seen_image(self, input_index: int = 0) -> SeenImage:
        """An input as the network saw it."""
        return self._seen[input_index]

    def grid(self, true_labels: Sequence[str] = ()) -> Image.Image:
        """Draws every map beside its image: a row an input and target, a column a method.

        Args:
            true_labels: what each input really shows, in order; written under the predictions.

        Returns:
            An RGB image.

        Raises:
            InvalidArgumentError: there are predictions and true labels, but not one an input.
        """
        return to_grid(self, true_labels)

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Writes the report, one HTML file that needs nothing beside it."""
        Path(path).write_text(to_html(self), encoding="utf-8")

    def _repr_html_(self) -> str:
        # A frame of its own keeps the report's style from the notebook's, and the other way.
        page = html.escape(to_html(self))
        return f'<iframe srcdoc="{page}" style="width:100%;height:60em;border:0"></iframe>'


def error_of(status: status_pb2.Status) -> ExpoundError | None:
    """The typed error of a status; None for an empty one."""
    return errors.from_status(status) if status.code else None


def time_of(timestamp: Timestamp) -> datetime.datetime | None:
    """A timestamp in UTC; None for an empty one."""
    if not timestamp.ByteSize():
        return None
    return timestamp.ToDatetime(tzinfo=datetime.UTC)
