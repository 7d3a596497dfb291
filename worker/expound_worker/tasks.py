"""The Celery tasks: each takes its ticket to the child's `Device`, and nothing more."""

import logging
import os
import signal
from typing import TYPE_CHECKING

from celery import current_app, shared_task
from celery.signals import worker_process_init, worker_process_shutdown

from expound import tasks
from expound_worker.process.identity import identity
from expound_worker.process.secrecy import hide_from_others
from expound_worker.settings import read_settings

if TYPE_CHECKING:
    from expound_worker.device import Device

FAILED_START = signal.SIGUSR2
"""Signal by which the child tells the worker that its models cannot be loaded."""

logger = logging.getLogger(__name__)

# Celery gives a task no place to keep what its process has loaded, so this is the one global: the
# device of this child process, from its start to its end.
_device: "Device | None" = None


@worker_process_init.connect
def _start(**_: object) -> None:
    global _device
    logging.getLogger("expound_worker").setLevel(logging.INFO)
    try:
        _device = _load()
    except Exception:
        # Celery would let a child live that can do nothing.
        logger.exception("the worker cannot start")
        os.kill(os.getppid(), FAILED_START)


def _load() -> "Device | None":
    """Loads the models and begins; None where their entries are wrong, which the parent is told."""
    # Only the child loads torch and the models: the process that waits for tickets stays small.
    import torch

    from expound_worker.device import Device
    from expound_worker.models.entry import EntryError
    from expound_worker.process.memory import keep_freed_memory
    from expound_worker.process.threads import in_passing_thread

    hide_from_others()
    keep_freed_memory()
    # Maps add up to the precision of float32; cuDNN would round to ten bits.
    torch.backends.cudnn.allow_tf32 = False
    try:
        settings, worker = read_settings([], os.environ), identity(os.getppid())
        device = in_passing_thread(lambda: Device(settings, worker, send=_send))
    except EntryError as error:
        logger.error("the worker cannot start: %s", error)
        os.kill(os.getppid(), FAILED_START)
        return None
    device.start()
    return device


@worker_process_shutdown.connect
def _stop(**_: object) -> None:
    if _device is not None:
        _device.stop()


@shared_task(name=tasks.EXPLAIN)
def explain(explanation_id: str) -> None:
    """Predicts, runs the gradient methods and hands out the perturbation methods."""
    _started().explain(explanation_id)


@shared_task(name=tasks.PERTURB)
def perturb(explanation_id: str, method_index: int) -> None:
    """Runs one perturbation method."""
    _started().perturb(explanation_id, method_index)


def _started() -> "Device":
    if _device is None:
        raise RuntimeError("tasks run in a child process of a worker alone")
    return _device


def _send(explanation_id: str, method_index: int, queue: str) -> None:
    current_app.send_task(tasks.PERTURB, (explanation_id, method_index), queue=queue)
