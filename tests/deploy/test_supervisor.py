"""The supervisor and a part of it, in this process."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from expound_deploy.part import Command, Part
from expound_deploy.supervisor import Supervisor
from tests.deploy.up import is_alive
from tests.processes import wait_until

STUBBORN = """
import os, pathlib, signal, sys

def repeat(number, frame):
    if "repeat" in sys.argv:
        os.kill(os.getppid(), signal.SIGINT)

signal.signal(signal.SIGTERM, repeat)
signal.alarm(60)
pathlib.Path(sys.argv[1]).touch()
while True:
    signal.pause()
"""
"""Stays for a minute when it is asked to end; with "repeat" it sends its supervisor a signal."""
WRITING = "import sys; sys.stdout.write('one\\ntwo\\nthr')"


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[IO[str]]:
    with (tmp_path / "lock").open("w") as lock:
        yield lock


@pytest.fixture
def _signals() -> Iterator[None]:
    """Puts the handlers back that a supervisor replaces."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize(
    ("number", "drain_s", "more"),
    [
        (signal.SIGINT, 0.1, []),
        (signal.SIGTERM, 0.1, []),
        (signal.SIGHUP, 0.1, []),
        (signal.SIGTERM, 600.0, ["repeat"]),
    ],
)
def test_a_part_that_stays_is_killed_after_its_time_or_at_a_second_signal(
    number: signal.Signals,
    drain_s: float,
    more: list[str],
    tmp_path: Path,
    lock: IO[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []

    def answers() -> bool:
        asked.append("part")
        return len(asked) > 3

    def readiness() -> str:
        asked.append("service")
        signal.raise_signal(number)
        return "it is ready"

    ready = tmp_path / "ready"
    arguments = (sys.executable, "-c", STUBBORN, str(ready), *more)
    command = Command("stubborn", arguments, drain_s=drain_s, ready_file=ready, answers=answers)
    part = Part(command, tmp_path, lock)
    assert Supervisor([part], readiness, verbose=False).run() == 0
    assert asked == ["part"] * 4 + ["service"]
    assert part.pid is None
    *_, told, stopping, killed = capfd.readouterr().out.splitlines()
    assert (told, stopping) == ("it is ready", "stopping stubborn")
    assert killed == "stubborn did not end in time, and is killed"


def test_the_log_of_the_run_before_is_kept_and_for_nobody_else(
    tmp_path: Path, lock: IO[str]
) -> None:
    (tmp_path / "part.log").write_text("before")
    part = Part(Command("part", ()), tmp_path, lock)
    assert (tmp_path / "part.log.1").read_text() == "before"
    assert part.log.read_text() == ""
    assert part.log.stat().st_mode & 0o077 == 0


def test_whole_lines_of_the_log_are_told_once(tmp_path: Path, lock: IO[str]) -> None:
    part = Part(Command("part", (sys.executable, "-c", WRITING)), tmp_path, lock)
    for lines, last in ((["one", "two"], ["thr"]), (["throne", "two"], ["two", "thr"])):
        part.start()
        wait_until(lambda: part.exit_code() == 0, "the end of the part", 20)
        assert part.new_lines() == lines
        assert part.new_lines() == []
        assert part.last_lines(len(last)) == last
        part.bury()


def test_what_a_part_has_started_ends_with_it(tmp_path: Path, lock: IO[str]) -> None:
    script = "sleep 60 & echo $!; wait"
    part = Part(Command("part", ("sh", "-c", script)), tmp_path, lock)
    part.start()
    wait_until(lambda: bool(part.last_lines(1)), "the process of the part", 20)
    child = int(part.last_lines(1)[0])
    part.bury()
    wait_until(lambda: not is_alive(child), "the end of what the part has started", 20)
