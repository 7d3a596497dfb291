"""One part of the service as a child process: its command, its log and its life."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from expound_deploy import leash


def _at_once() -> bool:
    return True


@dataclass(frozen=True)
class Command:
    """What a part runs.

    Attributes:
        name: name of the part, for people and for its log file.
        arguments: the program and its arguments.
        environment: variables beside those of the supervisor; secrets go here, for arguments can
            be read by every user of the machine.
        drain_s: seconds that it may take to end what it has begun.
        ready_file: file that it makes when it is up; None where it makes none.
        answers: whether it answers, asked from outside.
        begins_with: what it does before it is up, where that takes long: "load its models".
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    drain_s: float = 10
    ready_file: Path | None = None
    answers: Callable[[], bool] = _at_once
    begins_with: str = ""


class Part:
    """A child process in a group of its own, whose output goes to a log file of this run.

    The log of the run before is kept beside it, as NAME.log.1.
    """

    def __init__(self, command: Command, logs_dir: Path, lock: IO[str]) -> None:
        """Prepares; the process holds the lock open too, so that it lasts as long as it does."""
        self.command = command
        self._lock = lock
        self.log = logs_dir / f"{command.name}.log"
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        self._process: subprocess.Popen[bytes] | None = None
        self._start_offset = 0
        self._read_offset = 0

    @property
    def name(self) -> str:
        """Name of the part."""
        return self.command.name

    @property
    def is_started(self) -> bool:
        """Whether there is a process, be it alive or ended and not yet buried."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Process id; None without a process."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts the process; it logs behind what is in the log already."""
        if self.command.ready_file:
            self.command.ready_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._start_offset = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, leash.__file__, str(os.getpid()), *self.command.arguments],
                env={**os.environ, **self.command.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[self._lock.fileno()],
                # Ctrl-C in a terminal reaches the supervisor alone, which stops parts in order.
                start_new_session=True,
            )

    def is_up(self) -> bool:
        """Whether it has come so far that it does its work."""
        file = self.command.ready_file
        return self.is_started and (file is None or file.exists()) and self.command.answers()

    def exit_code(self) -> int | None:
        """Exit code of a process that has ended, negative for a signal; None while it lives."""
        return self._process.poll() if self._process else None

    def terminate(self) -> None:
        """Asks the process to end what it has begun, and itself."""
        if self._process:
            self._process.terminate()

    def bury(self) -> None:
        """Kills what is left of the process and of all that it started, and forgets it."""
        if self._process:
            # A group outlives its leader for as long as any process in it lives.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def last_lines(self, count: int) -> list[str]:
        """The last lines that it has logged since it was last started."""
        return self._logged(self._start_offset).decode(errors="replace").splitlines()[-count:]

    def new_lines(self) -> list[str]:
        """The whole lines that it has logged since this was last asked."""
        whole, newline, _ = self._logged(self._read_offset).rpartition(b"\n")
        self._read_offset += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()

    def _logged(self, offset: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read()
