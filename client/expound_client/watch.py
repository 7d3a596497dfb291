"""Where a watch stands, and whether one that broke is taken up again."""

import grpc

from expound.v1 import explanation_pb2, explanation_service_pb2
from expound_client.errors import DeadlineExceededError
from expound_client.events import Event, EventReader
from expound_client.requests import explanation_name, view
from expound_client.retries import Retries
from expound_client.time_limit import TimeLimit

# One stream ends after this time and is taken up again, so that none lasts for ever unnoticed.
_STREAM_TIMEOUT_S = 600.0


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
        limit: TimeLimit,
        values: bool,
    ) -> None:
        self.name = explanation_name(name)
        self._reader = reader
        self._sequence = after_sequence
        self._limit = limit
        self._values = values
        self._retries = Retries()

    def request(self) -> explanation_service_pb2.WatchExplanationRequest:
        """Asks for the next stream."""
        return explanation_service_pb2.WatchExplanationRequest(
            name=self.name, after_sequence=self._sequence, view=view(full=self._values)
        )

    def stream_timeout_s(self) -> float:
        """How long the next stream may last. Raises DeadlineExceededError when time is over."""
        left_s = self._limit.left_s(_STREAM_TIMEOUT_S)
        if not left_s:
            message = f"{self.name} was not done within {self._limit.seconds:g} s"
            raise DeadlineExceededError(message)
        return left_s

    def read(self, message: explanation_pb2.ExplanationEvent) -> Event | None:
        """Reads one event; None for one seen before, or of a kind that is not known."""
        self._retries.heard()
        if message.sequence <= self._sequence:
            return None
        self._sequence = message.sequence
        return self._reader.read(message)

    def pause_s(self, error: grpc.RpcError) -> float:
        """Seconds to wait before the next stream, after one that broke.

        Raises:
            ExpoundError: the stream is not to be taken up again.
        """
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return 0.0  # `stream_timeout_s` tells whether all time is over
        return self._limit.left_s(self._retries.pause_s(error))
