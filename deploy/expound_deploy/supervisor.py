"""Keeps the parts of the service running, and stops them in order."""

import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType

from expound_deploy.part import Part

_TICK_S = 0.1
_LONGEST_DELAY_S = 30.0
_TRIES_BEFORE_READY = 3
_SHOWN_LINES = 20


class PartFailedError(Exception):
    """A part ends again and again before the service was ever ready."""

    def __init__(self, part: Part) -> None:
        super().__init__(part.name)
        self.part = part


class Supervisor:
    """Starts the parts one after the other, starts again those that die, and drains them.

    A part that dies comes back after a delay that doubles with every death since the service was
    last ready. Before it was ever ready, the third death of a part is the end: then something is
    wrong that no new start will cure.
    """

    def __init__(
        self, parts: Sequence[Part], readiness: Callable[[], str | None], *, verbose: bool
    ) -> None:
        """Prepares; nothing is started yet.

        Args:
            parts: the parts, each before those that need it.
            readiness: tells, in one line, that the service is ready; None while it is not.
            verbose: whether what the parts log is printed too.
        """
        self._parts = parts
        self._readiness = readiness
        self._verbose = verbose
        self._deaths: Counter[str] = Counter()
        self._start_times_s: dict[str, float] = {}
        self._is_ready = self._was_ready = False
        self._stop_signals = 0

    def run(self) -> int:
        """Runs until SIGINT, SIGTERM or SIGHUP; a second one cuts the draining short.

        Returns:
            Exit code: 0 after a signal, 1 when a part could not be brought up.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note_stop)
        try:
            while not self._stop_signals:
                self._tend()
                time.sleep(_TICK_S)
        except PartFailedError as error:
            self._report(error.part)
            return 1
        finally:
            self._stop()
        return 0

    # The handler only counts: whatever it printed or locked could meet the code it interrupts.
    def _note_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_signals += 1

    def _tend(self) -> None:
        """Buries the dead, starts what is due, and asks whether the service is ready."""
        for part in self._parts:
            self._print_log(part)
            if (code := part.exit_code()) is not None:
                self._note_death(part, code)
        if not all(part.is_started for part in self._parts):
            self._start_due()
        elif not self._is_ready:
            self._check_ready()

    def _note_death(self, part: Part, code: int) -> None:
        part.bury()
        self._is_ready = False
        self._deaths[part.name] += 1
        deaths = self._deaths[part.name]
        if not self._was_ready and deaths == _TRIES_BEFORE_READY:
            raise PartFailedError(part)
        delay_s = min(_LONGEST_DELAY_S, 0.5 * 2 ** (deaths - 1))
        self._start_times_s[part.name] = time.monotonic() + delay_s
        say(f"{part.name} ended with {_cause(code)}; starting it again in {delay_s:g} s")
        for line in part.last_lines(1):
            say(f"  its last words: {line}")

    def _check_ready(self) -> None:
        # The service may answer for a worker of the run before, whose card has not run out yet.
        if all(part.is_up() for part in self._parts) and (line := self._readiness()):
            self._is_ready = self._was_ready = True
            self._deaths.clear()
            say(line)

    def _start_due(self) -> None:
        """Starts what is due; the first time, each part only when those before it are up."""
        for part in self._parts:
            is_due = time.monotonic() >= self._start_times_s.get(part.name, 0)
            if is_due and not part.is_started:
                part.start()
                say(f"started {part.name} (process {part.pid}), log {part.log}")
                if part.command.begins_with:
                    say(f"waiting for {part.name} to {part.command.begins_with}")
            if not self._was_ready and not part.is_up():
                return

    def _stop(self) -> None:
        """Drains the parts, the last one first, so that none loses what it needs to end well."""
        for part in reversed(self._parts):
            if part.is_started:
                say(f"stopping {part.name}")
            part.terminate()
            deadline_s = time.monotonic() + part.command.drain_s
            while part.is_started and part.exit_code() is None:
                if time.monotonic() > deadline_s or self._stop_signals > 1:
                    say(f"{part.name} did not end in time, and is killed")
                    break
                self._print_log(part)
                time.sleep(_TICK_S)
            part.bury()
            self._print_log(part)

    def _print_log(self, part: Part) -> None:
        if self._verbose:
            for line in part.new_lines():
                say(f"{part.name} | {line}")

    def _report(self, part: Part) -> None:
        lines = "\n".join(f"  {line}" for line in part.last_lines(_SHOWN_LINES))
        complain(f"{part.name} cannot be started. The last that it said, from {part.log}:\n{lines}")


def say(line: str) -> None:
    """Prints a line at once; a terminal or pipe that is gone is no reason to stop serving."""
    _print(line, to_stderr=False)


def complain(text: str) -> None:
    """Prints on standard error what went wrong."""
    _print(text, to_stderr=True)


def _print(text: str, *, to_stderr: bool) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr if to_stderr else sys.stdout, flush=True)


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
