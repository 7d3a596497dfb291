"""The grid of a result: every map beside its image."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from expound_client import pictures
from expound_client.attribution import Attribution
from expound_client.errors import InvalidArgumentError

if TYPE_CHECKING:
    from expound_client.results import ExplanationResult


def to_grid(result: "ExplanationResult", true_labels: Sequence[str]) -> Image.Image:
    """Draws a row an input and target, a column a method; `true_labels` may be empty.

    Raises:
        InvalidArgumentError: there are predictions and true labels, but not one an input.
    """
    count = len(result.predictions)
    if count and true_labels and len(true_labels) != count:
        raise InvalidArgumentError.of(
            "true_labels", f"must be one an input: {count}, not {len(true_labels)}"
        )
    maps: dict[tuple[int, int], dict[str, Attribution]] = {}
    for key, method in result.methods.items():
        for attribution in method.attributions:
            place = (attribution.input_index, attribution.target.index)
            maps.setdefault(place, {})[key] = attribution
    rows = []
    for (index, _), of_methods in sorted(maps.items(), key=lambda each: each[0][0]):
        seen = result.seen_image(index)
        image = seen.image if seen.known else None
        drawn = [of_methods[key].picture() if key in of_methods else None for key in result.methods]
        target = next(iter(of_methods.values())).target
        caption = f"{target.label}, {target.probability:.0%}"
        if true_labels:
            caption += f"\ntrue: {true_labels[index]}"
        rows.append(pictures.Row([image, *drawn], caption))
    attributions = (each for method in result.methods.values() for each in method.attributions)
    shown = legend(attribution.values for attribution in attributions)
    return pictures.grid(["image", *result.methods], rows, legend=shown)


def legend(maps: Iterable[NDArray[np.floating]]) -> str:
    """What the colours of some maps stand for; nothing where there is no map."""
    signed = {pictures.normalize(values).signed for values in maps}
    told = {
        frozenset({True}): "Red speaks for the class, blue against it.",
        frozenset({False}): "From violet to yellow: from weak to strong.",
        frozenset({True, False}): "Red speaks for the class, blue against it; other maps go from "
        "violet, weak, to yellow, strong.",
    }
    return f"{told[frozenset(signed)]} Each map has a scale of its own." if signed else ""
