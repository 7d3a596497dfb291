"""Where a watch stands, and whether one that broke is taken up again."""

import random
import time

import grpc

from expound.v1 import explanation_pb2, explanation_service_pb2
from expound_client.core import explanation_name, view
from expound_client.errors import DeadlineExceededError, from_rpc_error
from expound_client.events import Event, EventReader

# One stream ends after this time and is taken up again, so that none lasts for ever unnoticed.
_STREAM_TIMEOUT_S = 600.0
# So long a watch tries to reach a server again before it gives up.
_OUTAGE_LIMIT_S = 60.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class Watch:
    """A watch of one explanation, over as many streams as it takes.

    It asks for what comes behind the last event seen, so that nothing is missed or repeated.
    """

    def __init__(
        self,
        name: str,
        reader: EventReader,
        *,
        after_sequence: int,
        timeout_s: float | None,
        values: bool,
    ) -> None:
        self.name = explanation_name(name)
        self._reader = reader
        self._sequence = after_sequence
        self._timeout_s = timeout_s
        self._values = values
        self._end_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._tries = 0
        self._heard_s = time.monotonic()

    def request(self) -> explanation_service_pb2.WatchExplanationRequest:
        """Asks for the next stream."""
        return explanation_service_pb2.WatchExplanationRequest(
            name=self.name, after_sequence=self._sequence, view=view(full=self._values)
        )

    def stream_timeout_s(self) -> float:
        """How long the next stream may last. Raises DeadlineExceededError when time is over."""
        left_s = self._left_s()
        if left_s <= 0:
            raise self._time_is_over()
        return min(left_s, _STREAM_TIMEOUT_S)

    def read(self, message: explanation_pb2.ExplanationEvent) -> Event | None:
        """Reads one event; None for one seen before, or of a kind that is not known."""
        self._tries = 0
        self._heard_s = time.monotonic()
        if message.sequence <= self._sequence:
            return None
        self._sequence = message.sequence
        return self._reader.read(message)

    def pause_s(self, error: grpc.RpcError) -> float:
        """Seconds to wait before the next stream, after one that broke.

        Raises:
            ExpoundError: the stream is not to be taken up again.
        """
        code = error.code()
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            if self._left_s() <= 0:
                raise self._time_is_over() from error
            self._heard_s = time.monotonic()
            return 0.0
        ours = from_rpc_error(error)
        if code != grpc.StatusCode.UNAVAILABLE or self._silence_s() > _OUTAGE_LIMIT_S:
            raise ours from error
        longest_s = min(_FIRST_PAUSE_S * 2**self._tries, _LONGEST_PAUSE_S)
        self._tries += 1
        # Jitter: the watchers of a server that restarts do not all come back at once.
        pause_s = random.uniform(longest_s / 2, longest_s)
        return min(max(pause_s, ours.retry_after_s or 0.0), max(self._left_s(), 0.0))

    def _left_s(self) -> float:
        return float("inf") if self._end_s is None else self._end_s - time.monotonic()

    def _silence_s(self) -> float:
        return time.monotonic() - self._heard_s

    def _time_is_over(self) -> DeadlineExceededError:
        return DeadlineExceededError(f"{self.name} was not done within {self._timeout_s:g} s")
