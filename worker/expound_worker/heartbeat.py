"""Tells servers, and the probes of Kubernetes, that a worker lives."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import redis

from expound.v1 import worker_pb2
from expound_worker.process.watchdog import vital_thread
from expound_worker.store import Store

logger = logging.getLogger(__name__)

PERIOD_S = 2.0
ALIVE_MS = 10_000


class Heartbeat:
    """A thread that renews the worker's card in Redis and touches its heartbeat file.

    It does neither while the device hangs: no new work is meant for it then, and Kubernetes starts
    its pod anew. A device that is busy is alive.
    """

    def __init__(
        self,
        store: Store,
        card: worker_pb2.WorkerCard,
        file: str,
        step_s: Callable[[], float],
        hung_after_s: float,
    ) -> None:
        """Makes one.

        Args:
            store: where the card is renewed.
            card: says what the worker serves.
            file: path of the file that is touched; "" for none.
            step_s: for how long the device has been at its present step; 0 when it is idle.
            hung_after_s: after how long at one step it counts as hung.
        """
        self._store = store
        self._step_s = step_s
        self._hung_after_s = hung_after_s
        self._hangs = False
        self._card = card.SerializeToString()
        self._told = b""
        self._file = Path(file) if file else None
        self._file_failed = False
        self._stopping = threading.Event()
        self._thread = vital_thread(self._run, "heartbeat")

    def start(self) -> None:
        """Beats from now on."""
        self._thread.start()

    def update(self, card: worker_pb2.WorkerCard) -> None:
        """Tells of a new card from the next beat on."""
        self._card = card.SerializeToString()

    def stop(self) -> None:
        """Stops, and takes the worker off the list of those that live."""
        self._stopping.set()
        self._thread.join()
        try:
            self._store.run("heartbeat", self._store.worker, 1, self._card)
        except redis.RedisError:
            logger.info("Redis is away; the worker's card runs out by itself")

    def _run(self) -> None:
        while True:
            self._look()
            if not self._hangs:
                self._tell()
            if self._stopping.wait(PERIOD_S):
                return

    def _look(self) -> None:
        step_s = self._step_s()
        hangs = step_s > self._hung_after_s
        if hangs and not self._hangs:
            logger.warning("the device is at one step for %.0f s: no heartbeat meanwhile", step_s)
        self._hangs = hangs

    def _tell(self) -> None:
        # The file tells that the device goes on, whether or not Redis is there.
        self._touch()
        try:
            self._beat()
        except redis.RedisError as error:
            logger.warning("Redis does not answer the heartbeat: %s", error)

    def _touch(self) -> None:
        if self._file is None:
            return
        try:
            self._file.touch()
        except OSError as error:
            # Told of once: it is most likely to be so at every beat.
            if not self._file_failed:
                logger.warning("the heartbeat file cannot be touched: %s", error)
            self._file_failed = True

    def _beat(self) -> None:
        card = self._card
        unchanged = b"" if card == self._told else card
        if self._store.run("heartbeat", self._store.worker, ALIVE_MS, unchanged) == 0:
            self._store.run("heartbeat", self._store.worker, ALIVE_MS, card)
        self._told = card
