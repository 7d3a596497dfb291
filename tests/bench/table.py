"""Measured rows, and how they are shown."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

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
            shown.add_column(column, justify="left" if is_text else "right")
        for row in self.rows:
            shown.add_row(*(_text(value) for value in row.values()))
        Console(width=160).print(shown)


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
    measured: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            measured[name].append(seconds(action))
    return measured


def median(values: list[float]) -> float:
    """Median."""
    return statistics.median(values)


def spread(values: list[float]) -> str:
    """Smallest and largest, in milliseconds."""
    return f"{min(values) * 1e3:.1f}..{max(values) * 1e3:.1f}"


def _text(value: str | float | int) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
