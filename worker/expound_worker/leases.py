"""Keeps the units that this worker runs its own, for as long as it lives."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import redis

from expound_worker.store import Store
from expound_worker.unit import Unit

logger = logging.getLogger(__name__)

PERIOD_S = 3.0


class Leases:
    """A thread that renews the leases of the units held; see the script ``renew``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._units: set[Unit] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Renews from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stops; what is held yet runs out."""
        self._stopping.set()
        self._thread.join()

    @contextmanager
    def held(self, units: Sequence[Unit]) -> Iterator[None]:
        """Renews the leases of claimed units within the context."""
        with self._lock:
            self._units.update(units)
        try:
            yield
        finally:
            with self._lock:
                self._units.difference_update(units)

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_S):
            try:
                self._renew()
            except redis.RedisError as error:
                logger.warning("Redis does not answer, leases are not renewed: %s", error)

    def _renew(self) -> None:
        with self._lock:
            units = list(self._units)
        names = [part for unit in units for part in (unit.explanation_id, unit.name, unit.attempt)]
        if names:
            self._store.run("renew", *names)
