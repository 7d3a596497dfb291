"""The record of an explanation as Redis holds it, and what callers are told of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from expound.v1 import explanation_pb2
from expound_server import fields
from expound_server.names import explanation_name


@dataclass(frozen=True)
class Record:
    """One explanation's record: its id, and the fields of its hash."""

    explanation_id: str
    hash: Mapping[bytes, bytes]

    @cached_property
    def request(self) -> explanation_pb2.ExplainRequest:
        """The request as it runs, without its inputs."""
        return explanation_pb2.ExplainRequest.FromString(self._field("request"))

    @property
    def state(self) -> explanation_pb2.State.ValueType:
        """State of the whole."""
        return fields.state(self._field("state"))

    @property
    def tenant(self) -> str:
        """Name of the tenant whose it is."""
        return self._field("tenant").decode()

    @property
    def create_time_us(self) -> int:
        """When it was accepted, in microseconds since 1970."""
        return int(self._field("create_time"))

    def succeeded(self) -> list[int]:
        """Indices of the methods that have a result."""
        return [
            index
            for index in range(len(self.request.methods))
            if fields.state(self._field(f"{index}:state")) == explanation_pb2.STATE_SUCCEEDED
        ]

    def explanation(
        self, results: Mapping[int, bytes] | None = None
    ) -> explanation_pb2.Explanation:
        """Puts the record and the stored results of its methods, by index, together.

        Without stored results it is what the record alone says: all but tensors.
        """
        predictions = explanation_pb2.PredictionsReady.FromString(self._field("predictions"))
        provenance = self._field("provenance")
        return explanation_pb2.Explanation(
            name=explanation_name(self.explanation_id),
            request=self.request,
            state=self.state,
            error=fields.status(self._field("error")),
            predictions=predictions.predictions,
            results=[
                self.result(index, None if results is None else results.get(index))
                for index in range(len(self.request.methods))
            ],
            provenance=explanation_pb2.Provenance.FromString(provenance) if provenance else None,
            sequence=int(self._field("sequence")),
            create_time=fields.timestamp(self._field("create_time")),
            end_time=fields.timestamp(self._field("end_time")),
            expire_time=fields.timestamp(self._field("expire_time")),
            reused=bool(self._field("reused")),
        )

    def result(self, index: int, stored: bytes | None = None) -> explanation_pb2.MethodResult:
        """Puts the state of a method and its result together, without tensors where not stored."""
        method = self.request.methods[index]
        state = fields.state(self._field(f"{index}:state"))
        result = explanation_pb2.MethodResult.FromString(stored or self._field(f"{index}:summary"))
        result.MergeFrom(
            explanation_pb2.MethodResult(
                key=method.key,
                method=method.WhichOneof("method") or "",
                state=state,
                error=fields.status(self._field(f"{index}:error")),
                # What was written on the way is older than what a result says of it.
                progress=None if result.HasField("progress") else self._progress(index, state),
                attempt=int(self._field(f"{index}:attempt") or 0),
                start_time=fields.timestamp(self._field(f"{index}:start_time")),
                end_time=fields.timestamp(self._field(f"{index}:end_time")),
                reused=bool(self._field(f"{index}:reused")),
            )
        )
        return result

    def _progress(
        self, index: int, state: explanation_pb2.State.ValueType
    ) -> explanation_pb2.Progress | None:
        """How far a method is, or was: one that has ended has no time left."""
        written = self._field(f"{index}:progress")
        if not written:
            return None
        progress = explanation_pb2.MethodProgressed.FromString(written).progress
        if fields.is_terminal(state):
            progress.ClearField("time_left")
        return progress

    def _field(self, name: str) -> bytes:
        return self.hash.get(name.encode(), b"")


class Answer(NamedTuple):
    """A record, and the serialised results of its methods that have one, by index."""

    record: Record
    results: Mapping[int, bytes]


def answer(
    explanation_id: str, fields_and_values: Sequence[bytes], results: Sequence[bytes | None]
) -> Answer:
    """Makes an answer of what a script gives for ``{HASH, RESULTS}``; see `expound.records`."""
    pairs = zip(fields_and_values[::2], fields_and_values[1::2], strict=True)
    found = {index: result for index, result in enumerate(results) if result}
    return Answer(Record(explanation_id, dict(pairs)), found)
