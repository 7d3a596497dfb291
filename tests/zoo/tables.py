"""The table of the zoo for people: `results.md`, and the short tables of the README."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.zoo.beside import BESIDE
from tests.zoo.cells import Cell
from tests.zoo.checks import Verdict
from tests.zoo.trials import GRADIENT_TRIALS, LAYER_TRIALS, PERTURBATION_TRIALS, TRIALS

PATH = Path(__file__).parent / "results.md"
_FIGURE = re.compile(r"-?\d[\d.,]*(e[+-]?\d+)?%?")
_RAISES = "raises"
_HEAD = """# The zoo

Every method on the classifiers of torchvision: random weights from a seed, statistics of BatchNorm
from noise, one input of noise, explained for its best class, on one core. `make zoo` writes this
page and `results.csv`. A cell says what the check of the answer found (`trials.py` says how), and
the seconds of the answer:

- **exact**: right to rounding (an error of at most 0.001), and no warning;
- **≈ error**: the error is one that the answer itself tells of, by a warning with the figure, by a
  standard error, or by the precision that it was asked for;
- **refused**: no answer, but a reason; they are listed below;
- **slow**: given up; **WRONG**: an error that nothing tells of, or an exception.

Networks with random weights are harder to integrate along a path than trained ones: their gradient
changes from one point to the next.
"""
_BESIDE_HEAD = """\
`deep_lift` in float64 is exact to 1e-9. `lrp` without constants is the epsilon rule on the network
without biases and positions, where nothing may be lost but what softmax keeps. Captum's methods ran
on a copy of the network (DeepLift and LRP in float64), and are held to the same checks: one
**raises**, or is **WRONG** without saying so. GuidedBackprop is that where it equals the plain
gradient, or changes the gradient of some activations alone.
"""


def write(cells: Sequence[Cell], path: Path = PATH) -> None:
    """Writes the page."""
    path.write_text(
        "\n".join(
            [
                _HEAD,
                f"## In short\n\n{summary(cells)}\n\n{captums_summary(cells)}\n",
                f"## Gradient methods\n\n{_grid(cells, GRADIENT_TRIALS)}\n",
                f"## Layer methods\n\n{_grid(cells, LAYER_TRIALS)}\n",
                f"## Perturbation methods\n\n{_grid(cells, PERTURBATION_TRIALS)}\n",
                f"## Beside them\n\n{_BESIDE_HEAD}\n{_grid(cells, BESIDE)}\n",
                f"## Reasons of refusals\n\n{_reasons(cells)}\n",
            ]
        )
    )


def summary(cells: Sequence[Cell]) -> str:
    """On how many classifiers each method is what; methods with the same numbers share a row."""
    rows: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for method in TRIALS:
        rows[_counts(cells, method, ("exact", "approximate", "refused"))].append(f"`{method}`")
    return _table(
        ["method", "exact", "approximate", "refused"],
        ([" ".join(methods), *counts] for counts, methods in rows.items()),
    )


def captums_summary(cells: Sequence[Cell]) -> str:
    """The same of Captum."""
    columns = ("exact", "approximate", _RAISES, "wrong")
    names = {"deep_lift": "DeepLift", "lrp": "LRP", "guided_backprop": "GuidedBackprop"}
    return _table(
        ["Captum", "exact", "approximate", "raises", "wrong, without a word"],
        (
            [f"`{name}`", *_counts(cells, f"captum/{method}", columns)]
            for method, name in names.items()
        ),
    )


def _counts(cells: Iterable[Cell], method: str, labels: Sequence[str]) -> tuple[str, ...]:
    found = Counter(_label(cell) for cell in cells if cell.method == method)
    return tuple(str(found[label] or "") for label in labels)


def _label(cell: Cell) -> str:
    raised = cell.verdict is Verdict.WRONG and cell.reason.startswith(_RAISES)
    return _RAISES if raised else cell.verdict.value


def _grid(cells: Sequence[Cell], methods: Iterable[str]) -> str:
    columns = list(methods)
    by_place = {(cell.model, cell.method): cell for cell in cells}
    models = sorted({cell.model for cell in cells})
    return _table(
        ["model", *(f"`{method}`" for method in columns)],
        ([model, *(_shown(by_place[model, method]) for method in columns)] for model in models),
    )


def _shown(cell: Cell) -> str:
    said = _label(cell)
    if cell.verdict is Verdict.WRONG and said != _RAISES:
        said = "WRONG" if cell.error is None else f"WRONG {cell.error:.0e}"
    elif cell.verdict is Verdict.APPROXIMATE:
        said = f"≈ {cell.error:.0e}"
    return said if cell.seconds is None else f"{said}, {cell.seconds:.2g} s"


def _reasons(cells: Iterable[Cell]) -> str:
    """Each kind of reason once, as its first cell has it, with the methods and models it is of."""
    kinds: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.verdict is Verdict.REFUSED:
            kinds[_FIGURE.sub("#", cell.reason)].append(cell)
    return "\n".join(
        f"- {group[0].reason}\n  ({', '.join(_unique(cell.method for cell in group))}: "
        f"{' '.join(_unique(cell.model for cell in group))})"
        for group in sorted(kinds.values(), key=len, reverse=True)
    )


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
