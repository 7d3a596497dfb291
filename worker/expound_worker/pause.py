"""Between two passes of gradient work that lasts: is it still wanted, and who else waits?"""

import time
from collections.abc import Callable, Sequence

from expound_worker.models.batch_size import CHUNK_S
from expound_worker.store import outlasting_outages
from expound_worker.unit import Stopped, Unit


class Pause:
    """Called before each pass, it stops work that nobody wants, and lets others have the device.

    Not more often than each `CHUNK_S`: what is over by then is let be.
    """

    def __init__(self, units: Sequence[Unit], give_way: Callable[[], None]) -> None:
        """Makes one.

        Args:
            units: what the work is done for; it goes on as long as one of them is this worker's.
            give_way: lets others have the device; may raise what the work is to end with.
        """
        self._units = units
        self._give_way = give_way
        self._last_s = time.monotonic()

    def __call__(self) -> None:
        """Pauses if it is time. Raises Stopped, and what `give_way` raises."""
        if time.monotonic() - self._last_s < CHUNK_S:
            return
        with outlasting_outages():
            if not any(unit.is_held() for unit in self._units):
                raise Stopped
        self._give_way()
        self._last_s = time.monotonic()
