"""Error bars: the weights of the strongest segments, each with its 95 % interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from expound_client.pictures.numbered import numbered
from expound_client.pictures.strongest import COUNT, SegmentWeight, draw_tag, strongest, tag_width
from expound_client.pictures.text import font

_WIDTH = 460
_MARGIN = 16
_GAP = 12
_ROW = 29
_BAR = 17
_SWATCH = 30
_TEXT_SIZE = 16
_LINE = 23
_MAX_STEPS = 5
_INK, _SOFT, _FAINT = "#1c1d22", "#63656f", "#e1e1dc"


def error_bars(
    weights: NDArray[np.floating],
    standard_errors: NDArray[np.floating],
    segments: NDArray[np.int32],
    image: Image.Image,
    *,
    count: int = COUNT,
) -> Image.Image:
    """Draws the largest weights with their 95 % intervals, beside the image with their segments.

    Args:
        weights: (segments,).
        standard_errors: (segments,), of every weight.
        segments: (H, W), segment of every pixel, from 0.
        image: the image, or another picture of the map.
        count: how many segments are drawn, from 1.

    Returns:
        An RGB image: on the left what `numbered` draws, on the right what `bars` draws.

    Raises:
        InvalidArgumentError: `count` is below 1.
    """
    listed = strongest(weights, standard_errors, count)
    left, right = numbered(image, segments, listed), bars(listed, len(weights))
    height = max(left.height + 2 * _MARGIN, right.height)
    canvas = Image.new("RGB", (_MARGIN + left.width + right.width, height), "white")
    canvas.paste(left, (_MARGIN, _MARGIN))
    canvas.paste(right, (_MARGIN + left.width, (height - right.height) // 2))
    return canvas


def bars(listed: Sequence[SegmentWeight], total: int) -> Image.Image:
    """Draws weights as bars from zero, each with a whisker over its 95 % interval.

    A bar is red for a segment that speaks for the target and blue for one against it; it is pale
    where the interval holds zero.

    Args:
        listed: the segments, one a row from above.
        total: how many segments there are.

    Returns:
        An RGB image, 460 pixels wide.
    """
    return _Bars(listed, total).drawn()


class _Bars:
    """A chart of bars while it is drawn."""

    def __init__(self, listed: Sequence[SegmentWeight], total: int) -> None:
        self._listed = listed
        self._total = total
        self._tag = tag_width(listed)
        self._left = _MARGIN + self._tag + _GAP
        self._low = min([0.0, *(each.low for each in listed)])
        self._high = max([0.0, *(each.high for each in listed)])
        if self._low == self._high:
            self._low, self._high = -1.0, 1.0
        self._top = _MARGIN + _LINE + _GAP // 2
        self._bottom = self._top + len(listed) * _ROW
        height = self._bottom + _GAP // 2 + 4 * _LINE + _GAP + _MARGIN
        self._canvas = Image.new("RGB", (_WIDTH, height), "white")
        self._pen = ImageDraw.Draw(self._canvas)

    def drawn(self) -> Image.Image:
        count = len(self._listed)
        which = (
            f"the {count} strongest of {self._total:,}" if count < self._total else f"all {count}"
        )
        self._write(_MARGIN, _MARGIN + _LINE // 2, f"Weights of segments: {which}", _INK)
        self._axis()
        for number, segment in enumerate(self._listed):
            self._row(self._top + number * _ROW + _ROW // 2, segment)
        self._legend()
        return self._canvas

    def _x(self, value: float) -> int:
        """Column of a value."""
        width = _WIDTH - _MARGIN - _GAP - self._left
        return self._left + round(width * (value - self._low) / (self._high - self._low))

    def _axis(self) -> None:
        step = _step(self._high - self._low)
        for number in range(int(np.ceil(self._low / step)), int(self._high // step) + 1):
            x = self._x(number * step)
            ink = _SOFT if number == 0 else _FAINT
            self._pen.line((x, self._top, x, self._bottom), ink)
            self._write(x, self._bottom + _LINE // 2, f"{number * step:.6g}", _SOFT, "mm")

    def _row(self, y: int, segment: SegmentWeight) -> None:
        draw_tag(self._pen, (_MARGIN + self._tag // 2, y), self._tag, segment)
        if segment.weight:
            left, right = sorted((self._x(0), self._x(segment.weight)))
            self._bar(left, right, y, segment)
        self._whisker(self._x(segment.low), self._x(segment.high), y)

    def _whisker(self, low: int, high: int, y: int) -> None:
        """Draws a whisker with a white edge, which sets it off from its bar."""
        for ink, edge in (("white", 1), (_INK, 0)):
            self._pen.rectangle((low - edge, y - edge, high + edge, y + 1 + edge), ink)
            for x in (low, high):
                box = (x - edge, y - 4 - edge, x + 1 + edge, y + 5 + edge)
                self._pen.rectangle(box, ink)

    def _legend(self) -> None:
        """What the colours and the whiskers stand for, in three lines."""
        top = self._bottom + _LINE + _GAP + _LINE // 2
        text = _MARGIN + 2 * _SWATCH + _GAP
        for line, margin in enumerate((0, 1)):
            for place, sign in enumerate((1, -1)):
                self._swatch(_MARGIN + place * _SWATCH, top + line * _LINE, sign, margin)
        self._write(text, top, "red for the class, blue against it", _SOFT)
        self._write(text, top + _LINE, "pale: may be zero (95 %)", _SOFT)
        self._whisker(_MARGIN + 2, _MARGIN + 2 * _SWATCH - 5, top + 2 * _LINE)
        self._write(text, top + 2 * _LINE, "95 % interval", _SOFT)

    def _swatch(self, left: int, y: int, weight: float, margin: float) -> None:
        self._bar(left, left + _SWATCH - 3, y, SegmentWeight(0, weight, margin))

    def _bar(self, left: int, right: int, y: int, segment: SegmentWeight) -> None:
        box = (left, y - _BAR // 2, right, y + _BAR // 2)
        self._pen.rectangle(box, segment.fill, segment.outline)

    def _write(self, x: float, y: float, text: str, ink: str, anchor: str = "lm") -> None:
        self._pen.text((x, y), text, ink, font(_TEXT_SIZE), anchor)


def _step(extent: float) -> float:
    """Distance of the numbers on an axis: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(extent / _MAX_STEPS))
    steps = (power * each for each in (1, 2, 5) if extent <= _MAX_STEPS * power * each)
    return float(next(steps, power * 10))
