"""A Celery task that returns at once: the floor of every round trip through Celery."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery

from tests.processes import Process, wait_until

QUEUE = "bare"
app = Celery("bare", broker=os.environ.get("BARE_REDIS"), backend=os.environ.get("BARE_REDIS"))
app.conf.update(worker_pool_start_method="spawn", broker_connection_retry_on_startup=True)


@app.task(name="bare.nothing")
def nothing() -> int:
    """Returns at once."""
    return 1


@contextmanager
def bare_worker(redis_url: str) -> Iterator[None]:
    """A Celery worker, one spawned child as Expound's, that runs `nothing` on the same Redis."""
    app.conf.update(broker_url=redis_url, result_backend=redis_url)
    command = [sys.executable, "-m", "celery", "-A", "tests.bench.bare_task", "worker"]
    options = ["--concurrency", "1", "--queues", QUEUE, "--loglevel", "WARNING"]
    with Process([*command, *options], {"BARE_REDIS": redis_url}) as worker:

        def answers() -> bool:
            worker.check_alive()
            return bool(call())

        wait_until(answers, "the bare task's first answer")
        yield


def call() -> int:
    """Sends the task and waits for its result."""
    result: int = nothing.apply_async(queue=QUEUE).get(timeout=60, interval=0.001)
    return result
