"""A service for a while: `expound up` as a child process, on free ports, and commands to it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STOP_TIMEOUT_S = 90


@dataclass
class Service:
    """A service that was started for a while.

    Attributes:
        address: HOST:PORT; None when it ended before it was ready.
        exit_code: exit code of `expound up`; None while it runs.
    """

    address: str | None
    exit_code: int | None = None


@contextmanager
def service(state: Path, *options: str) -> Iterator[Service]:
    """Starts `expound up` with options, its data in an existing folder; stops it at the end."""
    command = [sys.executable, "-m", "expound_deploy", "--port", "0", "--data-dir", str(state)]
    up = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    started = Service(None)
    try:
        started.address = _wait_for_ready(up)
        yield started
    finally:
        up.terminate()
        output, _ = up.communicate(timeout=_STOP_TIMEOUT_S)
        print(output, end="")
        started.exit_code = up.returncode


def expound(*arguments: str) -> int:
    """Runs a command of the command line; gives its exit code."""
    return subprocess.run([Path(sys.executable).with_name("expound"), *arguments]).returncode


def _wait_for_ready(up: subprocess.Popen[str]) -> str | None:
    for line in up.stdout or ():
        print(line, end="", flush=True)
        if ready := re.match(r"ready: (\S+) ", line):
            return ready.group(1)
    return None
