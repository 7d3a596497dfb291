"""What `expound explain` leaves behind: a table, pictures of the maps, and the report."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from expound_client.attribution import Attribution
from expound_client.figures import seconds
from expound_client.results import ExplanationResult

_KEY_WIDTH = len("integrated_gradients")


def result_table(result: ExplanationResult, images: Sequence[str]) -> Table:
    """One line a map: what was explained, what it cost, and how far it can be trusted."""
    table = Table(
        title=f"{result.model}: {result.name}{_answered_before(result)}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("method", no_wrap=True)
    table.add_column("target", min_width=9)
    for column in ("prob.", "evals", "time", "rel. error", "std. error"):
        table.add_column(column, justify="right", no_wrap=True)
    for key, method in result.methods.items():
        for attribution in method.attributions:
            table.add_row(
                _folded(key),
                Text(_target(attribution, images)),
                f"{attribution.target.probability:.1%}",
                f"{attribution.evaluations:,}",
                seconds(method.duration_s),
                _figure(attribution.completeness_error),
                _figure(attribution.standard_error),
            )
        if not method.attributions:
            table.add_row(
                _folded(key), Text(method.state.lower(), "red"), "", "", seconds(method.duration_s)
            )
    return table


def _answered_before(result: ExplanationResult) -> str:
    if result.reused:
        return " (answered before)"
    reused = [key for key, method in result.methods.items() if method.reused]
    return f" (answered before: {', '.join(reused)})" if reused else ""


def warnings(result: ExplanationResult, images: Sequence[str]) -> list[str]:
    """What a reader of the maps should know, a line a warning, with the map that it is of."""
    return [
        f"{key}, {_target(attribution, images)}: {warning}"
        for key, method in result.methods.items()
        for attribution in method.attributions
        for warning in attribution.warnings
    ]


def with_files(message: str, images: Sequence[str]) -> str:
    """A message about inputs of the request, with the file of each behind its path."""

    def with_file(path: re.Match[str]) -> str:
        index = int(path[1])
        return f"{path[0]} ({images[index]})" if index < len(images) else path[0]

    return re.sub(r"\binputs\[(\d+)\](?:\.\w+)*", with_file, message)


def write(
    result: ExplanationResult, images: Sequence[str], true_labels: Sequence[str], folder: Path
) -> list[Path]:
    """Writes the pictures of each map, the grid of all of them and the report; gives their paths.

    A map whose weights have standard errors has a picture of its error bars too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    attributions = [each for method in result.methods.values() for each in method.attributions]
    pictures = []
    for attribution, name in zip(attributions, _names(attributions, images), strict=True):
        pictures.append(folder / f"{name}.png")
        attribution.picture().save(pictures[-1])
        if attribution.standard_errors is not None:
            pictures.append(folder / f"{name}-error_bars.png")
            attribution.error_bars().save(pictures[-1])
    grid = folder / "grid.png"
    result.grid(true_labels).save(grid)
    report = folder / "report.html"
    result.save_html(report)
    return [*pictures, grid, report]


def _names(attributions: Sequence[Attribution], images: Sequence[str]) -> list[str]:
    """Names of the pictures; those that would be the same end with the index of their class.

    Those that would be the same even then, for their keys are written alike, end with their number.
    """
    names = [_name(attribution, images) for attribution in attributions]
    names = _told_apart(names, [attribution.target.index for attribution in attributions])
    return _told_apart(names, range(1, len(names) + 1))


def _told_apart(names: Sequence[str], ends: Sequence[int]) -> list[str]:
    uses = Counter(names)
    return [
        name if uses[name] == 1 else f"{name}-{end}" for name, end in zip(names, ends, strict=True)
    ]


def _name(attribution: Attribution, images: Sequence[str]) -> str:
    """Name of a picture: image, method and target; the image's number where there are several."""
    number = f"{attribution.input_index + 1}_" if len(images) > 1 else ""
    image = Path(images[attribution.input_index]).stem
    return f"{number}{image}_{_word(attribution.key)}_{_word(attribution.target.label)}"


def _word(text: str) -> str:
    """The letters and digits of a text, as a part of a file's name that leads out of no folder."""
    return re.sub(r"\W+", "_", text).strip("_")[:40]


def _target(attribution: Attribution, images: Sequence[str]) -> str:
    """What is explained; with the name of the image where there are several."""
    label = attribution.target.label
    return label if len(images) == 1 else f"{Path(images[attribution.input_index]).name}: {label}"


def _folded(key: str) -> str:
    """A long key in several lines, so that the figures keep their place in a narrow terminal."""
    return "\n".join(wrap(key, _KEY_WIDTH))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
