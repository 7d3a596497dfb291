"""Entries of an explanation's stream, and the events that callers see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from expound.v1 import explanation_pb2
from expound_server import fields


@dataclass(frozen=True)
class Entry:
    """One entry of the stream: its sequence number, and its fields."""

    sequence: int
    fields: Mapping[bytes, bytes]

    @property
    def succeeded(self) -> int | None:
        """Index of the method that it reports as succeeded; None where it reports none."""
        if self.fields[b"kind"] != b"method":
            return None
        state = fields.state(self.fields[b"state"])
        return int(self.fields[b"unit"]) if state == explanation_pb2.STATE_SUCCEEDED else None


@dataclass(frozen=True)
class Tail:
    """What lies behind a sequence number: the next entries, and how things stand.

    Attributes:
        state: state of the whole when it was read.
        newest: sequence number of the newest event then.
        entries: the next entries, or the first of them where there are many.
    """

    state: explanation_pb2.State.ValueType
    newest: int
    entries: Sequence[Entry]


def event(
    entry: Entry, keys: Sequence[str], result: explanation_pb2.MethodResult | None
) -> explanation_pb2.ExplanationEvent:
    """Makes the event of an entry.

    Args:
        entry: the entry.
        keys: keys of the request's methods, by index.
        result: result of the method that the entry reports as succeeded, if it does.
    """
    made = explanation_pb2.ExplanationEvent(
        sequence=entry.sequence, time=fields.timestamp(entry.fields[b"time"])
    )
    match entry.fields[b"kind"]:
        case b"state":
            made.state_changed.MergeFrom(_state(entry))
        case b"method":
            made.method_state_changed.MergeFrom(_method_state(entry, keys, result))
        case b"predictions":
            made.predictions_ready.MergeFromString(entry.fields[b"payload"])
        case b"progress":
            made.method_progressed.MergeFromString(entry.fields[b"payload"])
    return made


def _state(entry: Entry) -> explanation_pb2.StateChanged:
    return explanation_pb2.StateChanged(
        state=fields.state(entry.fields[b"state"]), error=fields.status(entry.fields[b"error"])
    )


def _method_state(
    entry: Entry, keys: Sequence[str], result: explanation_pb2.MethodResult | None
) -> explanation_pb2.MethodStateChanged:
    return explanation_pb2.MethodStateChanged(
        key=keys[int(entry.fields[b"unit"])],
        state=fields.state(entry.fields[b"state"]),
        error=fields.status(entry.fields[b"error"]),
        attempt=int(entry.fields[b"attempt"]),
        result=result,
    )
