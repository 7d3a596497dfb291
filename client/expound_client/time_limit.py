"""How long a caller waits."""

import math
import time


class TimeLimit:
    """A time that runs from when it is made, over as many calls as it takes.

    Attributes:
        seconds: how long it is; None: for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end_s = math.inf if seconds is None else time.monotonic() + seconds

    def left_s(self, most_s: float = math.inf) -> float:
        """Seconds that are left, from 0 to `most_s`."""
        return max(min(self._end_s - time.monotonic(), most_s), 0.0)
