"""Streams that are taken up again where they break."""

import grpc

from expound_client.errors import DeadlineExceededError
from expound_client.retries import Retries
from expound_client.time_limit import TimeLimit

# One stream ends after this time and is taken up again, so that none lasts for ever unnoticed.
_STREAM_TIMEOUT_S = 600.0


class Stream:
    """How long something of an explanation may be streamed, over as many streams as it takes.

    Attributes:
        name: resource name of the explanation.
    """

    def __init__(self, name: str, limit: TimeLimit) -> None:
        self.name = name
        self._limit = limit
        self._retries = Retries()

    def stream_timeout_s(self) -> float:
        """How long the next stream may last. Raises DeadlineExceededError when time is over."""
        left_s = self._limit.left_s(_STREAM_TIMEOUT_S)
        if not left_s:
            message = f"{self.name} was not done within {self._limit.seconds:g} s"
            raise DeadlineExceededError(message)
        return left_s

    def pause_s(self, error: grpc.RpcError) -> float:
        """Seconds to wait before the next stream, after one that broke.

        Raises:
            ExpoundError: the stream is not to be taken up again.
        """
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return 0.0  # `stream_timeout_s` tells whether all time is over
        return self._limit.left_s(self._retries.pause_s(error))
