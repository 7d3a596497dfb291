"""The grid: pictures in rows and columns, with their names, as one picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from expound_client.pictures.text import font, wrapped

_MIN_CELL = 128
_GAP = 10
_MARGIN = 16
_TEXT_SIZE = 13
_LINE_HEIGHT = 17
_INK, _SOFT, _BLANK = "#1c1d22", "#63656f", "#ececea"


@dataclass(frozen=True)
class Row:
    """One row of a grid.

    Attributes:
        pictures: one a column, all of one size; None where there is none.
        caption: text below the first of them, one or more lines.
    """

    pictures: Sequence[Image.Image | None]
    caption: str = ""


def grid(columns: Sequence[str], rows: Sequence[Row], *, legend: str = "") -> Image.Image:
    """Draws pictures in rows and columns.

    Args:
        columns: heading of each column.
        rows: the rows, each with one picture a column; pictures of less than 128 pixels are
            enlarged by a whole factor.
        legend: text below them all.

    Returns:
        An RGB image.
    """
    return _Grid(columns, rows, legend).drawn()


class _Grid:
    """A grid while it is drawn."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Row], legend: str) -> None:
        sizes = [each.size for row in rows for each in row.pictures if each is not None]
        width, height = sizes[0] if sizes else (_MIN_CELL, _MIN_CELL)
        factor = -(-_MIN_CELL // min(width, height, _MIN_CELL))
        self._cell = width * factor, height * factor
        self._rows = rows
        self._headings = [self._lines(heading.replace("_", " ")) for heading in columns]
        self._captions = [
            [line for text in row.caption.splitlines() for line in self._lines(text)]
            for row in rows
        ]
        self._head = _height(self._headings)
        self._step = self._cell[0] + _GAP, self._cell[1] + _height(self._captions) + _GAP
        width = len(columns) * self._step[0] - _GAP
        self._legend = wrapped(legend, _TEXT_SIZE, width)
        self._foot = _MARGIN + self._head + len(rows) * self._step[1]
        foot_height = _height([self._legend]) + _GAP if legend else 0
        size = 2 * _MARGIN + width, self._foot - _GAP + foot_height + _MARGIN
        self._canvas = Image.new("RGB", size, "white")
        self._pen = ImageDraw.Draw(self._canvas)

    def drawn(self) -> Image.Image:
        for column, lines in enumerate(self._headings):
            # The last line stands next to the column, however many there are.
            top = _MARGIN + self._head - _height([lines])
            self._write(_MARGIN + column * self._step[0], top, lines, _INK)
        for number, row in enumerate(self._rows):
            top = _MARGIN + self._head + number * self._step[1]
            for column, picture in enumerate(row.pictures):
                self._place(_MARGIN + column * self._step[0], top, picture)
            self._write(_MARGIN, top + self._cell[1] + 3, self._captions[number], _SOFT)
        self._write(_MARGIN, self._foot, self._legend, _SOFT)
        return self._canvas

    def _place(self, left: int, top: int, picture: Image.Image | None) -> None:
        if picture is None:
            self._canvas.paste(_BLANK, (left, top, left + self._cell[0], top + self._cell[1]))
            center = (left + self._cell[0] / 2, top + self._cell[1] / 2)
            self._pen.text(center, "none", _SOFT, font(_TEXT_SIZE), "mm")
        else:
            enlarged = picture.convert("RGBA").resize(self._cell, Image.Resampling.NEAREST)
            self._canvas.paste(enlarged, (left, top), mask=enlarged)

    def _write(self, left: int, top: int, lines: Sequence[str], ink: str) -> None:
        for number, line in enumerate(lines):
            self._pen.text((left, top + number * _LINE_HEIGHT), line, ink, font(_TEXT_SIZE))

    def _lines(self, text: str) -> list[str]:
        return wrapped(text, _TEXT_SIZE, self._cell[0])


def _height(texts: Sequence[Sequence[str]]) -> int:
    """Height in pixels of the text with the most lines."""
    return max(map(len, texts), default=0) * _LINE_HEIGHT + 3
