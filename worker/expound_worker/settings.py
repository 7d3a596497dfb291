"""What a worker is told by its command line and environment."""

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from expound import tasks

DEFAULT_MODELS = Path(__file__).parent / "models" / "models.toml"
KINDS = (tasks.GRADIENT, tasks.PERTURBATION)


@dataclass(frozen=True)
class Settings:
    """Settings of a worker; its child processes read them again from the environment.

    Attributes:
        redis_url: Redis of the records and of Celery's messages.
        models: path of ``models.toml``.
        pool: pool whose models it serves and whose queues it takes work from.
        kinds: kinds of work it takes, "gradient" or "perturbation" or both, comma-separated.
        heartbeat_file: file that it touches while it lives; empty for none.
        max_step_s: for how long the device may be at one step, a batch of gradients or a forward
            pass; then it counts as hung, and the process begins anew.
        worker: identity of the worker.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    models: str = str(DEFAULT_MODELS)
    pool: str = tasks.DEFAULT_POOL
    kinds: str = ",".join(KINDS)
    heartbeat_file: str = "/tmp/expound-worker-heartbeat"
    max_step_s: float = 600.0
    worker: str = f"{socket.gethostname()}:{os.getpid()}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads ``EXPOUND_REDIS_URL``, ``EXPOUND_MODELS`` and so on; defaults where unset."""
        given = {name: environment.get(_variable(name)) for name in cls.__dataclass_fields__}
        # Every setting is of the type of its default.
        return cls(**{name: type(getattr(cls, name))(it) for name, it in given.items() if it})

    def to_environment(self) -> dict[str, str]:
        """The variables from which `from_environment` makes the same settings."""
        return {_variable(name): str(value) for name, value in asdict(self).items()}

    def queues(self) -> list[str]:
        """Queues it takes work from, the more urgent first."""
        chosen = self.kinds.split(",")
        return [tasks.queue(kind, self.pool) for kind in KINDS if kind in chosen]


def _variable(name: str) -> str:
    return f"EXPOUND_{name.upper()}"
