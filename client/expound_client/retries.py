"""How often and for how long a server that does not answer is tried again."""

import random
import time

import grpc

from expound_client.errors import from_rpc_error

# So long a server is tried again before it is given up.
_OUTAGE_LIMIT_S = 60.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class Retries:
    """The tries at one thing that can be done again without harm."""

    def __init__(self) -> None:
        self._tries = 0
        self._heard_s = time.monotonic()

    def heard(self) -> None:
        """Notes that a server has answered."""
        self._tries = 0
        self._heard_s = time.monotonic()

    def pause_s(self, error: grpc.RpcError) -> float:
        """Seconds to wait before the next try.

        Raises:
            ExpoundError: the server refuses, or has been away for too long.
        """
        ours = from_rpc_error(error)
        silence_s = time.monotonic() - self._heard_s
        if error.code() != grpc.StatusCode.UNAVAILABLE or silence_s > _OUTAGE_LIMIT_S:
            raise ours from error
        longest_s = min(_FIRST_PAUSE_S * 2**self._tries, _LONGEST_PAUSE_S)
        self._tries += 1
        # Jitter: the callers of a server that restarts do not all come back at once.
        return max(random.uniform(longest_s / 2, longest_s), ours.retry_after_s or 0.0)
