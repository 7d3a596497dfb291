"""Ends a process that can do no more, so that a new one takes its work up."""

import logging
import os
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

_PERIOD_S = 1.0


def vital_thread(run: Callable[[], None], name: str) -> threading.Thread:
    """A thread without which all others would wait for ever: should it fail, the process ends."""

    def run_or_exit() -> None:
        try:
            run()
        except BaseException:
            logger.exception("the thread %s has a defect, and the process ends", name)
            os._exit(os.EX_SOFTWARE)

    return threading.Thread(target=run_or_exit, name=name, daemon=True)


class Watchdog:
    """A thread that ends the process when the device has been at one step for too long.

    A hung forward pass cannot be interrupted; and while it lasts, nothing else is answered. The
    leases of what the process held run out, and other attempts are made, each alone.
    """

    def __init__(self, step_s: Callable[[], float], limit_s: float) -> None:
        """Makes one.

        Args:
            step_s: for how long the device has been at its present step; 0 when it is idle.
            limit_s: for how long it may be.
        """
        self._step_s = step_s
        self._limit_s = limit_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watches from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Watches no more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_PERIOD_S):
            if self._step_s() > self._limit_s:
                logger.error("the device is at one step for %.0f s: it hangs", self._step_s())
                os._exit(os.EX_SOFTWARE)
