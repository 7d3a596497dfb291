"""What `expound explain` leaves behind: a table, a picture of each map, and the report."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from expound_client.attribution import Attribution
from expound_client.figures import seconds
from expound_client.results import ExplanationResult


def result_table(result: ExplanationResult, images: Sequence[str]) -> Table:
    """One line a map: what was explained, what it cost, and how far it can be trusted."""
    table = Table(
        title=f"{result.model}: {result.name}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("method", no_wrap=True)
    table.add_column("target", min_width=9)
    for column in ("prob.", "evals", "time", "delta", "std. error"):
        table.add_column(column, justify="right", no_wrap=True)
    for key, method in result.methods.items():
        for attribution in method.attributions:
            image = Path(images[attribution.input_index]).name
            target = (
                attribution.target.label
                if len(images) == 1
                else f"{image}: {attribution.target.label}"
            )
            table.add_row(
                key,
                Text(target),
                f"{attribution.target.probability:.1%}",
                f"{attribution.evaluations:,}",
                seconds(method.duration_s),
                _figure(attribution.convergence_delta, "+.2g"),
                _figure(attribution.standard_error, ".2g"),
            )
        if not method.attributions:
            table.add_row(
                key, Text(method.state.lower(), "red"), "", "", seconds(method.duration_s)
            )
    return table


def write(result: ExplanationResult, images: Sequence[str], folder: Path) -> list[Path]:
    """Writes the picture of each map and the report; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for method in result.methods.values():
        for attribution in method.attributions:
            path = folder / f"{_name(attribution, images)}.png"
            attribution.picture().save(path)
            written.append(path)
    report = folder / "report.html"
    result.save_html(report)
    return [*written, report]


def _name(attribution: Attribution, images: Sequence[str]) -> str:
    """Name of a picture: image, method and target; the image's number where there are several."""
    number = f"{attribution.input_index + 1}_" if len(images) > 1 else ""
    image = Path(images[attribution.input_index]).stem
    label = re.sub(r"\W+", "_", attribution.target.label).strip("_")[:40]
    return f"{number}{image}_{attribution.key}_{label}"


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
