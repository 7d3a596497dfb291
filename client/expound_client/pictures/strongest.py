"""The segments of largest weight, and how sure their weights are."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from expound_client.errors import InvalidArgumentError
from expound_client.pictures.colors import signed_color
from expound_client.pictures.text import font

COUNT = 10
TAG_HEIGHT = 20
# So many standard errors to both sides hold the weight in about 95 % of the cases.
_INTERVAL = 1.96
_PALE = 0.25
_TEXT_SIZE = 14


@dataclass(frozen=True)
class SegmentWeight:
    """One segment's weight and its 95 % interval, in units of the explained score.

    Attributes:
        number: number of the segment, from 0.
        weight: its weight.
        margin: half the width of the 95 % interval, 1.96 standard errors.
    """

    number: int
    weight: float
    margin: float

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.weight - self.margin

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.weight + self.margin

    @property
    def may_be_zero(self) -> bool:
        """Whether the 95 % interval holds zero."""
        return self.low <= 0 <= self.high

    @property
    def outline(self) -> tuple[int, int, int]:
        """The colour of its sign."""
        return signed_color(1 if self.weight >= 0 else -1)

    @property
    def fill(self) -> tuple[int, int, int]:
        """The colour of its sign, pale where the weight may be zero."""
        sign = 1 if self.weight >= 0 else -1
        return signed_color(sign * _PALE if self.may_be_zero else sign)


def strongest(
    weights: NDArray[np.floating], standard_errors: NDArray[np.floating], count: int = COUNT
) -> list[SegmentWeight]:
    """The segments of largest absolute weight, the largest first.

    Args:
        weights: (segments,).
        standard_errors: (segments,), of every weight.
        count: how many are wanted, from 1; all where there are fewer.

    Raises:
        InvalidArgumentError: `count` is below 1.
    """
    if count < 1:
        raise InvalidArgumentError.of("count", f"must be at least 1, not {count}")
    order = np.argsort(-np.abs(weights), kind="stable")[:count]
    margins = _INTERVAL * standard_errors
    return [
        SegmentWeight(number, float(weights[number]), float(margins[number]))
        for number in order.tolist()
    ]


def tag_width(listed: Iterable[SegmentWeight]) -> int:
    """Width in pixels of the tags of some segments: they are all as wide as the widest."""
    widest = max((font(_TEXT_SIZE).getlength(str(each.number)) for each in listed), default=0)
    return max(TAG_HEIGHT + 6, round(widest) + 12)


def draw_tag(
    pen: ImageDraw.ImageDraw, center: tuple[float, float], width: int, segment: SegmentWeight
) -> None:
    """Writes the number of a segment on its colour."""
    x, y = center
    box = (x - width // 2, y - TAG_HEIGHT // 2, x + width // 2, y + TAG_HEIGHT // 2)
    pen.rounded_rectangle(box, 5, segment.fill, segment.outline, 2)
    ink = "black" if segment.may_be_zero else "white"
    pen.text(center, str(segment.number), ink, font(_TEXT_SIZE), anchor="mm")
