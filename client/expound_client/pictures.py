"""Maps as pictures: heat maps, and overlays over the image.

A map is brought to [-1, 1] or [0, 1] first: channels summed, and divided by a high percentile of
its magnitudes, so that a few outliers do not darken all the rest. Signed maps are drawn with a
diverging colour map (red speaks for the target, blue against it), others with a sequential one.
"""

from functools import cache

import numpy as np
from cmap import Colormap
from numpy.typing import NDArray
from PIL import Image

DIVERGING = "matplotlib:bwr"
SEQUENTIAL = "matplotlib:inferno"
PERCENTILE = 99.0
OPACITY = 0.85
_PALENESS = 0.35


def is_signed(values: NDArray[np.floating]) -> bool:
    """Whether anything in the map speaks against the target, once its channels are summed."""
    return bool((_flat(values) < 0).any())


def normalize(values: NDArray[np.floating], percentile: float = PERCENTILE) -> NDArray[np.float32]:
    """Brings a map to the range of the colours.

    Args:
        values: (C, H, W), whose channels are summed, or (H, W).
        percentile: percentile of the magnitudes, 0 to 100, that takes the strongest colour; what
            lies above is clipped.

    Returns:
        (H, W) in [-1, 1]; in [0, 1] for a map that is nowhere negative.
    """
    flat = _flat(values)
    magnitudes = np.abs(flat)
    # A map that is zero nearly everywhere has no percentile; its largest value stands in.
    scale = np.percentile(magnitudes, percentile) or magnitudes.max() or 1.0
    return np.clip(flat / scale, -1, 1).astype(np.float32)


def heatmap(
    values: NDArray[np.floating], *, percentile: float = PERCENTILE, colors: str | None = None
) -> Image.Image:
    """Draws a map.

    Args:
        values: (C, H, W) or (H, W).
        percentile: as for `normalize`.
        colors: name of a colour map of the `cmap` library; None: a diverging one for signed maps,
            a sequential one for others.

    Returns:
        An RGB image of the map's size.
    """
    signed = is_signed(values)
    positions = normalize(values, percentile)
    return Image.fromarray(_colors(positions, signed, colors))


def overlay(
    values: NDArray[np.floating],
    image: Image.Image,
    *,
    opacity: float = OPACITY,
    percentile: float = PERCENTILE,
    colors: str | None = None,
) -> Image.Image:
    """Draws a map over the image.

    The image shows in pale grey; the stronger the map is at a pixel, the more of its colour
    covers the image.

    Args:
        values: (C, H, W) or (H, W).
        image: the image, brought to the map's size if it has another.
        opacity: how much of the image the strongest colour covers, 0 to 1.
        percentile: as for `normalize`.
        colors: as for `heatmap`.

    Returns:
        An RGB image of the map's size.
    """
    signed = is_signed(values)
    positions = normalize(values, percentile)
    height, width = positions.shape
    gray = np.asarray(image.convert("L").resize((width, height)), dtype=np.float32)[..., None]
    pale = gray * (1 - _PALENESS) + 255 * _PALENESS
    # The root lets the weaker half of a map be seen too.
    cover = opacity * np.sqrt(np.abs(positions))[..., None]
    mixed = _colors(positions, signed, colors) * cover + pale * (1 - cover)
    return Image.fromarray(mixed.round().astype(np.uint8))


def scale(*, signed: bool, colors: str | None = None) -> Image.Image:
    """Draws the colours of a map from the lowest to the highest, as an RGB image of 256x8."""
    table = _table(colors or (DIVERGING if signed else SEQUENTIAL))
    return Image.fromarray(np.tile(table, (8, 1, 1)))


def _flat(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """(H, W) of a map, its channels summed."""
    flat = np.asarray(values, dtype=np.float32)
    return flat.sum(axis=0) if flat.ndim == 3 else flat


def _colors(positions: NDArray[np.float32], signed: bool, colors: str | None) -> NDArray[np.uint8]:
    """(H, W, 3) colours of positions in [-1, 1] (signed) or [0, 1]."""
    table = _table(colors or (DIVERGING if signed else SEQUENTIAL))
    share = (positions + 1) / 2 if signed else positions
    return table[(share * (len(table) - 1)).round().astype(np.intp)]


@cache
def _table(name: str) -> NDArray[np.uint8]:
    """The 256 colours of a colour map."""
    table: NDArray[np.uint8] = (Colormap(name).lut(256)[:, :3] * 255).round().astype(np.uint8)
    return table
