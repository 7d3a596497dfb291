"""Where gradient work comes from: a thread that waits for it, and the tickets."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import redis

from expound_worker.process.threads import compute_on
from expound_worker.process.watchdog import vital_thread
from expound_worker.unit import Work

logger = logging.getLogger(__name__)

_RETRY_S = 0.5
_MAX_TICKETS = 100

Works = Sequence[Work]

Take = Callable[[str], Works]
"""Takes an explanation of that id, or the oldest that waits, with others that can run beside it."""

Listen = Callable[[], Works]
"""Waits a while for explanations that nobody has, and takes some that can run as one batch."""

Explain = Callable[[Works], "Future[None] | None"]
"""Runs what was taken; gives what waits for its end, where the next may be taken meanwhile."""


class Listener:
    """Takes explanations as soon as they wait, one batch after the other.

    A worker comes by them in two ways: by listening to Redis itself, which is quick and shares the
    work among the workers that are free, and by tickets, should that go wrong. While a batch runs
    that ends soon, the next is taken and read, if it waits already: then no worker is free for it.
    """

    def __init__(
        self, take: Take, listen: Listen, explain: Explain, stopping: threading.Event
    ) -> None:
        self._take = take
        self._listen = listen
        self._explain = explain
        # Should one be dropped: what it names is heard of, or gets another ticket.
        self._tickets: deque[str] = deque(maxlen=_MAX_TICKETS)
        self._running: Future[None] | None = None
        self._stopping = stopping
        self._thread = vital_thread(self._run, "listener")

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def join(self) -> None:
        """Waits until what it has taken has run, and it takes no more: `stopping` is set."""
        if self._thread.is_alive():
            self._thread.join()

    def look(self, explanation_id: str) -> None:
        """Makes it look whether an explanation waits, as soon as it has time."""
        self._tickets.append(explanation_id)

    def _run(self) -> None:
        compute_on(1)
        while self._running or not self._stopping.is_set():
            try:
                self._step()
            except redis.RedisError as error:
                logger.warning("Redis is away: %s", error)
                self._stopping.wait(_RETRY_S)
            except Exception:
                logger.exception("gradient work")

    def _step(self) -> None:
        if self._stopping.is_set():
            self._begin(())
        elif self._tickets:
            self._begin(self._take(self._tickets.popleft()))
        else:
            self._begin(self._take("") if self._running else self._listen())

    def _begin(self, works: Works) -> None:
        """Begins with a batch, if any; waits for the one before, and raises what that raises."""
        before, self._running = self._running, self._explain(works) if works else None
        if before is not None:
            before.result()
