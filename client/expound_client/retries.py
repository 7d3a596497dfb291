"""How often and for how long a server that does not answer is tried again."""

import random
import time

import grpc

from expound_client.errors import from_rpc_error

# So long a server is tried again before it is given up.
_OUTAGE_LIMIT_S = 60.0
# A try that took longer had a server: one that is dead is noticed sooner, by the channel's
# keepalive or its limit for connecting.
_LONGEST_VAIN_TRY_S = 30.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class Retries:
    """The tries at one thing that can be done again without harm."""

    def __init__(self) -> None:
        self._try_begin_s = time.monotonic()
        self.heard()

    def heard(self) -> None:
        """Notes that a server has answered."""
        self._tries = 0
        self._silent_since_s: float | None = None

    def pause_s(self, error: grpc.RpcError) -> float:
        """Seconds to wait before the next try.

        Raises:
            ExpoundError: the server refuses, or has been away for too long.
        """
        ours = from_rpc_error(error)
        now_s = time.monotonic()
        if now_s - self._try_begin_s > _LONGEST_VAIN_TRY_S:
            self.heard()
        if self._silent_since_s is None:
            self._silent_since_s = now_s
        silence_s = now_s - self._silent_since_s
        if error.code() != grpc.StatusCode.UNAVAILABLE or silence_s > _OUTAGE_LIMIT_S:
            raise ours from error
        longest_s = min(_FIRST_PAUSE_S * 2**self._tries, _LONGEST_PAUSE_S)
        self._tries += 1
        # Jitter: the callers of a server that restarts do not all come back at once.
        pause_s = max(random.uniform(longest_s / 2, longest_s), ours.retry_after_s or 0.0)
        self._try_begin_s = now_s + pause_s
        return pause_s
