"""Measured rows, and how they are shown."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.table import Table as RichTable

Row = dict[str, str | float | int]


@dataclass
class Table:
    """A named table of rows with the same columns."""

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)

    def print(self) -> None:
        """Shows it on the terminal."""
        shown = RichTable(title=self.title, title_justify="left")
        for column in self.rows[0]:
            is_text = isinstance(self.rows[0][column], str)
            shown.add_column(column, justify="left" if is_text else "right", overflow="fold")
        for row in self.rows:
            shown.add_row(*(_text(value) for value in row.values()))
        Console(width=200).print(shown)


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(
    actions: dict[str, Callable[[], object]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each action in each round; they take turns, after a first unmeasured one."""
    for action in actions.values() if warm_up else ():
        action()
    return values_in_turns(
        {name: partial(seconds, action) for name, action in actions.items()}, rounds
    )


def values_in_turns(
    measurements: dict[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """What each measurement gives in each round; they take turns."""
    values: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(rounds):
        for name, measure in measurements.items():
            values[name].append(measure())
    return values


def median(values: list[float]) -> float:
    """Median."""
    return statistics.median(values)


def milliseconds(values_s: list[float]) -> list[float]:
    """Milliseconds of seconds."""
    return [1e3 * value_s for value_s in values_s]


def spread(values: list[float]) -> str:
    """Smallest and largest."""
    return f"{_text(min(values))}..{_text(max(values))}"


def columns(name: str, unit: str, values: list[float]) -> Row:
    """Two columns of a row: the median, and the spread."""
    return {f"{name} {unit}": median(values), f"{name} spread": spread(values)}


def _text(value: str | float | int) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
