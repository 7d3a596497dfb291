"""The device of a worker's child process: its models, its store and the work it runs."""

import logging
from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from expound import records, tasks
from expound_worker import explain, perturb
from expound_worker.heartbeat import Heartbeat
from expound_worker.models.cards import worker_card
from expound_worker.models.registry import Registry
from expound_worker.settings import Settings
from expound_worker.store import Store

logger = logging.getLogger(__name__)

Send = Callable[[str, int, str], None]
"""Sends the ticket of one perturbation method: explanation id, method index, queue."""


class Device:
    """Owns the models of one child process and runs the units of work that its tickets name."""

    def __init__(self, settings: Settings, send: Send) -> None:
        self._settings = settings
        self._send = send
        # A script whose reply is lost is not repeated: it might count twice.
        client = redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=10,
            socket_connect_timeout=5,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=15,
        )
        self._store = Store(client, settings.worker)
        self._models = Registry.load(settings.models, settings.pool)
        card = worker_card(settings, self._models)
        self._heartbeat = Heartbeat(self._store, card, settings.heartbeat_file)

    def start(self) -> None:
        """Tells that the worker lives, from now on and until `stop`."""
        self._heartbeat.start()
        names = ", ".join(model.name for model in self._models)
        logger.info("worker %s serves %s", self._settings.worker, names)

    def stop(self) -> None:
        """Stops telling that the worker lives."""
        self._heartbeat.stop()

    def explain(self, explanation_id: str) -> None:
        """Runs the unit ``explain`` of an explanation, unless another worker has it."""
        work = self._store.take(explanation_id, records.EXPLAIN_UNIT)
        if work is not None:
            queue = tasks.queue(tasks.PERTURBATION, self._settings.pool)
            explain.run(work, self._models, lambda index: self._send(explanation_id, index, queue))

    def perturb(self, explanation_id: str, method_index: int) -> None:
        """Runs one perturbation method of an explanation, unless another worker has it."""
        work = self._store.take(explanation_id, str(method_index))
        if work is not None:
            perturb.run(work, method_index, self._models)
