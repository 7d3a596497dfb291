"""A progress bar for each method, fed by the events of an explanation."""

from contextlib import aclosing
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed

from expound_client.aio import AsyncExplanation
from expound_client.cli.console import plain_console
from expound_client.events import (
    Event,
    MethodProgressed,
    MethodStateChanged,
    PredictionsReady,
    StateChanged,
)
from expound_client.results import State

_STYLES = {State.SUCCEEDED: "green", State.FAILED: "red", State.CANCELLED: "yellow"}


async def follow(explanation: AsyncExplanation) -> None:
    """Shows the progress of an explanation until it ends."""
    async with aclosing(explanation.watch()) as events:
        with ProgressBars(plain_console(stderr=True), list(explanation.methods)) as bars:
            async for event in events:
                bars.show(event)


class ProgressBars:
    """The bars of one explanation, for use in a `with` block."""

    def __init__(self, console: Console, keys: list[str]) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            Elapsed(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {
            key: self._progress.add_task(key, total=None, start=False, note="waiting")
            for key in keys
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        """Shows what an event tells."""
        match event:
            case MethodProgressed():
                self._show_progress(event)
            case MethodStateChanged():
                self._show_state(event)
            case PredictionsReady(predictions=predictions):
                for number, prediction in enumerate(predictions, 1):
                    best = prediction.classes[0]
                    text = f"image {number}: {best.label}, {best.probability:.1%}"
                    self._progress.console.print(text, highlight=False)
            case StateChanged():
                pass  # The bars of the methods tell it all.

    def _show_progress(self, event: MethodProgressed) -> None:
        note = []
        if event.progress.standard_error is not None:
            note.append(f"± {event.progress.standard_error:.2g}")
        if event.progress.time_left_s is not None:
            note.append(f"{event.progress.time_left_s:.0f} s left")
        self._progress.update(
            self._tasks[event.key],
            completed=event.progress.evaluations_done,
            total=event.progress.evaluations_total or None,
            note=", ".join(note),
        )

    def _show_state(self, event: MethodStateChanged) -> None:
        task = self._tasks[event.key]
        if event.state == State.RUNNING:
            self._progress.start_task(task)
        style = _STYLES.get(event.state, "default")
        self._progress.update(task, note=f"[{style}]{event.state.lower()}[/]")
        if event.state.terminal:
            self._end(task, event)

    def _end(self, task: TaskID, event: MethodStateChanged) -> None:
        """Fills the bar of a method that is done, and stops its clock."""
        if event.state == State.SUCCEEDED:
            done = self._progress.tasks[task].completed
            if event.result is not None:
                done = event.result.progress.evaluations_done or done
            self._progress.update(task, completed=done or 1, total=done or 1)
        self._progress.stop_task(task)
