"""The device of a worker's child process: its models, its store and the work it runs."""

import logging
from collections.abc import Callable
from functools import partial

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from expound import tasks
from expound_worker import explain, perturb
from expound_worker.heartbeat import Heartbeat
from expound_worker.jobs import Jobs
from expound_worker.loop import DeviceLoop
from expound_worker.models.cards import resource_name, worker_card
from expound_worker.models.registry import Registry
from expound_worker.settings import Settings
from expound_worker.store import Store

logger = logging.getLogger(__name__)

MAX_JOBS = 4
_LISTEN_S = 1.0

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
        self._batch_sizes = {resource_name(model): model.batch_size for model in self._models}
        self._loop = DeviceLoop(self._explain_ready, self._listen)
        self._job_models = self._models.forwarding(self._loop.forward)
        self._jobs = Jobs(MAX_JOBS)
        card = worker_card(settings, self._models)
        self._heartbeat = Heartbeat(self._store, card, settings.heartbeat_file)

    def start(self) -> None:
        """Takes work, and tells that the worker lives, from now on and until `stop`."""
        self._loop.start(listening=tasks.GRADIENT in self._settings.kinds.split(","))
        self._heartbeat.start()
        names = ", ".join(model.name for model in self._models)
        logger.info("worker %s serves %s", self._settings.worker, names)

    def stop(self) -> None:
        """Ends what it has begun, and stops telling that the worker lives."""
        self._loop.stop_listening()
        self._jobs.join()
        self._loop.stop()
        self._heartbeat.stop()

    def explain(self, explanation_id: str) -> None:
        """Looks whether an explanation waits for the unit ``explain``, and runs it then."""
        self._loop.look(explanation_id)

    def perturb(self, explanation_id: str, method_index: int) -> None:
        """Starts one perturbation method of an explanation, unless another worker has it."""
        self._jobs.start(partial(self._perturb, explanation_id, method_index))

    def _explain_ready(self, explanation_id: str) -> bool:
        works = self._store.take_ready(self._settings.pool, explanation_id, self._batch_sizes)
        if works:
            explain.run(works, self._models, self._hand_out)
        return bool(works)

    def _listen(self) -> str | None:
        return self._store.next_ready(self._settings.pool, _LISTEN_S)

    def _hand_out(self, explanation_id: str, method_index: int) -> None:
        queue = tasks.queue(tasks.PERTURBATION, self._settings.pool)
        self._send(explanation_id, method_index, queue)

    def _perturb(self, explanation_id: str, method_index: int) -> None:
        work = self._store.take(explanation_id, str(method_index))
        if work is not None:
            perturb.run(work, method_index, self._job_models)
