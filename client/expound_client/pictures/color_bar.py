"""The colour bar: which value has which colour."""

import numpy as np
from PIL import Image, ImageDraw

from expound_client.pictures.colors import table_of
from expound_client.pictures.normalization import NormalizedMap
from expound_client.pictures.text import font

_MIN_WIDTH = 192
_MARGIN = 10
_GAP = 8
_BAR_HEIGHT = 10
_TEXT_SIZE = 12
_FOOT_HEIGHT = _GAP + _BAR_HEIGHT + _TEXT_SIZE + 2 * _GAP


def scale(drawn: NormalizedMap, *, colors: str | None = None) -> Image.Image:
    """Draws the colours of a map from the lowest to the highest, as an RGB image of 256x8."""
    return Image.fromarray(np.tile(table_of(drawn, colors), (8, 1, 1)))


def with_color_bar(picture: Image.Image, drawn: NormalizedMap, colors: str | None) -> Image.Image:
    """Puts a colour bar under a picture, its ends named in units of the explained score.

    A small picture is enlarged by a whole factor, so that there is room for the numbers.
    """
    factor = -(-_MIN_WIDTH // picture.width)
    width, height = picture.width * factor, picture.height * factor
    canvas = Image.new("RGB", (width + 2 * _MARGIN, _MARGIN + height + _FOOT_HEIGHT), "white")
    enlarged = picture.resize((width, height), Image.Resampling.NEAREST)
    canvas.paste(enlarged, (_MARGIN, _MARGIN))
    top = _MARGIN + height + _GAP
    bar = scale(drawn, colors=colors).resize((width, _BAR_HEIGHT), Image.Resampling.BILINEAR)
    canvas.paste(bar, (_MARGIN, top))
    pen = ImageDraw.Draw(canvas)
    edge = (_MARGIN - 1, top - 1, _MARGIN + width, top + _BAR_HEIGHT)
    pen.rectangle(edge, outline="lightgray")
    right = _MARGIN + width
    for x, anchor, text in zip(
        (_MARGIN, (_MARGIN + right) / 2, right), ("la", "ma", "ra"), _ticks(drawn), strict=True
    ):
        pen.text((x, top + _BAR_HEIGHT + _GAP / 2), text, "black", font(_TEXT_SIZE), anchor=anchor)
    return canvas


def _ticks(drawn: NormalizedMap) -> tuple[str, str, str]:
    """The values at the left end, the middle and the right end; from the limit on, all are one."""
    limit = f"{drawn.limit:.2g}"
    if drawn.empty:
        return "", "0 everywhere", ""
    if drawn.signed:
        return f"-{limit}", "0", limit
    sign = "-" if drawn.sign == "negative" else ""
    return "0", f"{sign}{drawn.limit / 2:.2g}", f"{sign}{limit}"
