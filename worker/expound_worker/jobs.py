"""The perturbation jobs that a worker runs side by side."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Jobs:
    """Threads, one a job, not more than a limit; each waits for the device most of its time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0
        self._changed = threading.Condition()

    def start(self, job: Callable[[], None]) -> None:
        """Starts a job, when there is room for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._running < self._limit)
            self._running += 1
        threading.Thread(target=self._run, args=(job,), name="job", daemon=True).start()

    def join(self) -> None:
        """Waits for the end of all."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:
            logger.exception("a job ended")
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
