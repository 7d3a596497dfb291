"""Values as Redis holds them, and as messages hold them."""

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from expound.v1 import explanation_pb2

_OPEN = (explanation_pb2.STATE_PENDING, explanation_pb2.STATE_RUNNING)


def state(value: bytes) -> explanation_pb2.State.ValueType:
    """A state from its number."""
    return explanation_pb2.State.ValueType(int(value))


def is_terminal(state: explanation_pb2.State.ValueType) -> bool:
    """Whether nothing follows the state."""
    return state not in _OPEN


def status(value: bytes) -> status_pb2.Status | None:
    """A serialised status; None where there is none."""
    return status_pb2.Status.FromString(value) if value else None


def timestamp(value: bytes) -> Timestamp | None:
    """A time from microseconds since 1970; None where there is none."""
    if not value:
        return None
    time = Timestamp()
    time.FromMicroseconds(int(value))
    return time
