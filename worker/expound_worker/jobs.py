"""The perturbation jobs that a worker runs side by side."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from expound_worker.process.threads import compute_on

logger = logging.getLogger(__name__)

_RETRY_S = 0.5

Run = Callable[[str, int], None]
"""Takes a job and runs it, unless another worker has it: explanation id, method index."""

Listen = Callable[[], tuple[str, int] | None]
"""Waits a while for a job that nobody has."""


class Jobs:
    """Threads, one a job, not more than a limit; each waits for the device most of its time.

    A worker learns of jobs by tickets, and by listening to Redis itself while it has room for more.

    Attributes:
        stopping: set when the worker stops; jobs are then to end soon.
    """

    def __init__(self, limit: int, run: Run, listen: Listen) -> None:
        self.stopping = threading.Event()
        self._limit = limit
        self._run_job = run
        self._listen = listen
        self._running = 0
        self._suspended = 0  # of those that run, until they can be alone
        self._wanting = 0  # to have no others beside them
        self._closed = False
        self._changed = threading.Condition()
        self._listener = threading.Thread(target=self._hear, name="job-listener", daemon=True)

    def start(self, *, listening: bool) -> None:
        """Begins; without listening, tickets alone tell it of jobs."""
        if listening:
            self._listener.start()

    def stop(self) -> None:
        """Takes no more, and waits for the end of those that run."""
        with self._changed:
            self.stopping.set()
            self._changed.notify_all()
        if self._listener.is_alive():
            self._listener.join()
        with self._changed:
            self._changed.wait_for(lambda: not self._running)

    def offer(self, explanation_id: str, method_index: int) -> None:
        """Starts a job if there is room for it; it stays where others look for it, if not.

        Raises:
            RuntimeError: the system has no thread for it.
        """
        with self._changed:
            if self._has_room():
                self._start(explanation_id, method_index)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lets the job that calls it run beside no other.

        Should it end the worker, it takes none with it.
        """
        with self._changed:
            self._suspended += 1
            self._wait_for_others()
            self._suspended -= 1
        with self._closed_to_others():
            yield

    @contextmanager
    def none(self) -> Iterator[None]:
        """Lets no job run; the caller sees to it that those that run end soon."""
        with self._changed:
            self._wait_for_others()
        with self._closed_to_others():
            yield

    def _wait_for_others(self) -> None:
        self._wanting += 1
        self._changed.notify_all()
        self._changed.wait_for(lambda: self._running == self._suspended and not self._closed)
        self._wanting -= 1
        self._closed = True

    @contextmanager
    def _closed_to_others(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()

    def _has_room(self) -> bool:
        full = self._closed or self._wanting or self._running >= self._limit
        return not full and not self.stopping.is_set()

    def _start(self, explanation_id: str, method_index: int) -> None:
        self._running += 1
        name = f"job {explanation_id} {method_index}"
        job = (explanation_id, method_index)
        try:
            threading.Thread(target=self._run, args=job, name=name, daemon=True).start()
        except RuntimeError:  # the system has no thread for it
            self._running -= 1
            raise

    def _run(self, explanation_id: str, method_index: int) -> None:
        compute_on(1)
        try:
            self._run_job(explanation_id, method_index)
        except Exception:
            logger.exception("method %d of %s", method_index, explanation_id)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _hear(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._has_room() or self.stopping.is_set())
            if self.stopping.is_set():
                return
            try:
                self._take_next()
            except redis.RedisError as error:
                logger.warning("Redis is away: %s", error)
                self.stopping.wait(_RETRY_S)
            except RuntimeError:
                logger.exception("a job cannot be started; it is left to others")
                self.stopping.wait(_RETRY_S)

    def _take_next(self) -> None:
        heard = self._listen()
        if heard is not None:
            # Nobody else knows of it now, so it is taken though the worker stops.
            with self._changed:
                self._changed.wait_for(lambda: self._has_room() or self.stopping.is_set())
                self._start(*heard)
