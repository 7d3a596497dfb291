"""The table of the zoo as data: one row a cell, in `results.csv`."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.zoo.beside import BESIDE
from tests.zoo.cells import Cell
from tests.zoo.checks import Verdict
from tests.zoo.trials import TRIALS

PATH = Path(__file__).parent / "results.csv"
_COLUMNS = ("model", "method", "verdict", "error", "seconds", "reason")


def read(path: Path = PATH) -> list[Cell]:
    """The cells of a file; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            Cell(
                row["model"],
                row["method"],
                Verdict(row["verdict"]),
                float(row["error"]) if row["error"] else None,
                float(row["seconds"]) if row["seconds"] else None,
                row["reason"],
            )
            for row in csv.DictReader(file)
        ]


def write(cells: Iterable[Cell], path: Path = PATH) -> None:
    """Writes cells, in two digits: more of them differ from run to run and say nothing."""
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for cell in cells:
            error = "" if cell.error is None else f"{cell.error:.1e}"
            seconds = "" if cell.seconds is None else f"{cell.seconds:.2g}"
            writer.writerow([cell.model, cell.method, cell.verdict, error, seconds, cell.reason])
    unfinished.replace(path)


def merged(before: Sequence[Cell], cells: Sequence[Cell]) -> list[Cell]:
    """Cells in place of those before of the same classifiers, in the order of the table."""
    renewed = {cell.model for cell in cells}
    kept = [cell for cell in before if cell.model not in renewed]
    methods = [*TRIALS, *BESIDE]
    return sorted([*kept, *cells], key=lambda cell: (cell.model, methods.index(cell.method)))
