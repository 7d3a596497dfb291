"""Starts a worker: ``python -m expound_worker``.

This process only hands out tickets; models and their libraries are loaded in its child.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import celery.worker.state

from expound_worker.app import create_app
from expound_worker.process.identity import identity
from expound_worker.process.secrecy import hide_from_others
from expound_worker.settings import read_settings
from expound_worker.tasks import FAILED_START


def main(arguments: Sequence[str]) -> int:
    """Runs a worker until it is told to stop; 1 when it cannot load its models, 2 for settings."""
    try:
        settings = read_settings(arguments, os.environ)
    except ValueError as error:
        print(f"expound worker: error: {error}", file=sys.stderr)
        return 2
    hide_from_others()
    os.environ.update(settings.to_environment())
    # NumPy's matrices here are small: OpenBLAS' threads would spend their time waiting for one
    # another, and take it from the network's. The child reads this when it loads NumPy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Threads of one network wait for one another by spinning, for milliseconds by default: where
    # other processes want the same cores, that makes it several times slower, and them too.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    signal.signal(FAILED_START, _stop_after_failed_start)
    worker = create_app(settings).Worker(
        hostname=f"expound@{identity(os.getpid())}",
        queues=settings.queues(),
        loglevel="WARNING",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _stop_after_failed_start(_signal: int, _frame: FrameType | None) -> None:
    """The child could not load its models: a new one could not either, so the worker ends."""
    celery.worker.state.should_stop = 1  # type: ignore[assignment]  # an exit code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
