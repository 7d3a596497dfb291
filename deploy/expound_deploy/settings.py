"""What `expound up` is told: options first, environment second, defaults last."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What to start, and where.

    Attributes:
        host: address on which the server listens.
        port: port of the server; never 0.
        health_port: its port for health checks alone.
        data_dir: folder of Redis' data and of the logs.
        redis_url: Redis to use; None to start one.
        models: models.toml of the worker; None for the worker's own default.
    """

    host: str
    port: int
    health_port: int
    data_dir: Path
    redis_url: str | None
    models: Path | None

    @property
    def address(self) -> str:
        """Where a client on this machine finds the server: HOST:PORT."""
        return f"{self._local_host}:{self.port}"

    @property
    def health_address(self) -> str:
        """Where its health is told, without TLS and credentials: HOST:PORT."""
        return f"{self._local_host}:{self.health_port}"

    @property
    def _local_host(self) -> str:
        return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]"}.get(self.host, self.host)

    @property
    def logs_dir(self) -> Path:
        """Folder of the log files, one a part."""
        return self.data_dir / "logs"


def default_data_dir() -> Path:
    """The user's state folder for Expound, after the XDG base directories."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "expound"
