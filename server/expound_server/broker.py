"""Tickets for the workers: Celery tasks, sent by name."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from celery import Celery
from kombu.exceptions import OperationalError

from expound import tasks
from expound_server.errors import BrokerUnavailable

_log = logging.getLogger(__name__)

_SEND_TIMEOUT_S = 5
_THREADS = 4


class Broker:
    """Sends tickets. The record is the truth: a ticket too many does nothing."""

    def __init__(self, redis_url: str) -> None:
        self._celery = Celery("expound", set_as_current=False)
        self._celery.conf.update(tasks.celery_settings(redis_url), broker_connection_timeout=2)
        # Celery blocks. Threads of its own, so that a hung broker holds up nothing else.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="broker")

    async def send_explain(self, explanation_id: str, pool: str) -> None:
        """Sends the ticket of an explanation to a pool. Raises BrokerUnavailable."""
        queue = tasks.queue(tasks.GRADIENT, pool)
        await self._send(tasks.EXPLAIN, explanation_id, queue=queue)

    async def send_perturb(self, explanation_id: str, method_index: int, pool: str) -> None:
        """Sends the ticket of a perturbation method to a pool. Raises BrokerUnavailable."""
        queue = tasks.queue(tasks.PERTURBATION, pool)
        await self._send(tasks.PERTURB, explanation_id, method_index, queue=queue)

    async def _send(self, task: str, explanation_id: str, *more: int, queue: str) -> None:
        arguments: list[str | int] = [explanation_id, *more]
        sending = asyncio.get_running_loop().run_in_executor(
            self._threads, self._send_blocking, task, arguments, queue
        )
        try:
            await asyncio.wait_for(sending, _SEND_TIMEOUT_S)
        except (OperationalError, OSError, TimeoutError) as error:
            _log.warning("ticket of %s not sent: %s", explanation_id, error)
            raise BrokerUnavailable from error

    def _send_blocking(self, task: str, arguments: list[str | int], queue: str) -> None:
        try:
            self._celery.send_task(task, arguments, queue=queue)
        except OperationalError:
            # The pooled connection may have died of age; the second one is new.
            self._celery.send_task(task, arguments, queue=queue)

    def close(self) -> None:
        """Gives up connections and threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._celery.close()
