"""What a worker is told by its command line and environment."""

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from expound import tasks
from expound.redis_address import RedisAddress

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

    Raises:
        ValueError: a setting is not what it should be.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    models: str = str(DEFAULT_MODELS)
    pool: str = tasks.DEFAULT_POOL
    kinds: str = ",".join(KINDS)
    heartbeat_file: str = "/tmp/expound-worker-heartbeat"
    max_step_s: float = 600.0
    worker: str = f"{socket.gethostname()}:{os.getpid()}"

    def __post_init__(self) -> None:
        RedisAddress.parse(self.redis_url)
        if not set(self.kinds.split(",")) <= set(KINDS):
            raise ValueError(f"kinds of work are {','.join(KINDS)}, not {self.kinds!r}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads ``EXPOUND_REDIS_URL``, ``EXPOUND_MODELS`` and so on; defaults where unset."""
        given = {name: environment.get(_variable(name)) for name in cls.__dataclass_fields__}
        return cls(**{name: cls._read(name, text) for name, text in given.items() if text})

    @classmethod
    def _read(cls, name: str, text: str) -> Any:
        # Every setting is of the type of its default.
        if not isinstance(getattr(cls, name), float):
            return text
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{_variable(name)} must be a number, not {text!r}") from None

    def to_environment(self) -> dict[str, str]:
        """The variables from which `from_environment` makes the same settings."""
        return {_variable(name): str(value) for name, value in asdict(self).items()}

    def queues(self) -> list[str]:
        """Queues it takes work from, the more urgent first."""
        chosen = self.kinds.split(",")
        return [tasks.queue(kind, self.pool) for kind in KINDS if kind in chosen]


def _variable(name: str) -> str:
    return f"EXPOUND_{name.upper()}"
