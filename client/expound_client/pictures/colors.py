"""The colours of a map."""

from functools import cache

import numpy as np
from cmap import Colormap
from numpy.typing import NDArray

from expound_client.errors import InvalidArgumentError
from expound_client.pictures.normalization import NormalizedMap

_DIVERGING = "matplotlib:bwr"
_SEQUENTIAL = {
    "all": "matplotlib:inferno",
    "absolute": "matplotlib:inferno",
    "positive": "colorbrewer:Reds",
    "negative": "colorbrewer:Blues",
}


def colored(drawn: NormalizedMap, colors: str | None) -> NDArray[np.uint8]:
    """(H, W, 3) colours of a map; `colors` is as for `heatmap`."""
    table = table_of(drawn, colors)
    share = (drawn.positions + 1) / 2 if drawn.signed else drawn.positions
    return table[(share * (len(table) - 1)).round().astype(np.intp)]


def table_of(drawn: NormalizedMap, colors: str | None) -> NDArray[np.uint8]:
    """The colours of a map, from its lowest to its highest position: (256, 3)."""
    return _table(colors or (_DIVERGING if drawn.signed else _SEQUENTIAL[drawn.sign]))


def signed_color(position: float) -> tuple[int, int, int]:
    """The colour that a signed map has at a position in [-1, 1]: red for, blue against."""
    table = _table(_DIVERGING)
    red, green, blue = table[round((position + 1) / 2 * (len(table) - 1))].tolist()
    return red, green, blue


@cache
def _table(name: str) -> NDArray[np.uint8]:
    try:
        colors = Colormap(name).lut(256)
    except ValueError:
        raise InvalidArgumentError.of(
            "colors", f"must be the name of a colour map of the cmap library, not {name!r}"
        ) from None
    table: NDArray[np.uint8] = (colors[:, :3] * 255).round().astype(np.uint8)
    return table
