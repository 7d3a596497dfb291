"""The numbered picture: which segment is which."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from expound_client.pictures.strongest import TAG_HEIGHT, SegmentWeight, draw_tag, tag_width

_MIN_WIDTH = 360
_LINE_WIDTH = 2
_PALENESS = 0.5


def numbered(
    image: Image.Image, segments: NDArray[np.int32], listed: Sequence[SegmentWeight]
) -> Image.Image:
    """Draws some segments of an image outlined and numbered; what is around them is pale grey.

    Args:
        image: the image, brought to the size of the segments if it has another.
        segments: (H, W), segment of every pixel, from 0.
        listed: the segments that are outlined.

    Returns:
        An RGB image of the segments' size; a small one is enlarged by a whole factor.
    """
    height, width = segments.shape
    factor = -(-_MIN_WIDTH // width)
    size = width * factor, height * factor
    seen = image.convert("RGB").resize((width, height))
    picture = np.array(seen.resize(size, Image.Resampling.BICUBIC))
    enlarged = segments.repeat(factor, 0).repeat(factor, 1)
    around = ~np.isin(enlarged, [each.number for each in listed])
    gray = np.asarray(Image.fromarray(picture).convert("L"), dtype=np.float32)[..., None]
    picture[around] = (gray * (1 - _PALENESS) + 255 * _PALENESS)[around]
    for each in listed:
        inside = mask = enlarged == each.number
        for _ in range(_LINE_WIDTH):
            inside = _eroded(inside)
        picture[mask & ~inside] = each.outline
        picture[inside & ~_eroded(inside)] = 255
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    tag = tag_width(listed)
    # The strongest is drawn last, above those that are in its way.
    for each in reversed(listed):
        mask = enlarged == each.number
        if mask.any():
            draw_tag(pen, _within(_deepest(mask), tag, size), tag, each)
    return canvas


def _deepest(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Column and row of a pixel that lies deep inside a mask that is not empty."""
    rows, columns = mask.nonzero()
    top, left = rows.min(), columns.min()
    inner = mask[top : rows.max() + 1, left : columns.max() + 1]
    while inner.any():
        deep, inner = inner, _eroded(inner)
    places = np.argwhere(deep)
    distances = np.square(places - places.mean(axis=0)).sum(axis=1)
    row, column = places[distances.argmin()]
    return int(left + column), int(top + row)


def _within(center: tuple[int, int], width: int, size: tuple[int, int]) -> tuple[int, int]:
    """The centre of a tag, moved so that none of it is beyond the edge."""
    x, y = center
    across, down = width // 2, TAG_HEIGHT // 2
    return (
        min(max(x, across), size[0] - 1 - across),
        min(max(y, down), size[1] - 1 - down),
    )


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask without its outermost pixels; what is beyond the edge is outside."""
    wide = np.pad(mask, 1)
    eroded: NDArray[np.bool_] = (
        mask & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    )
    return eroded
