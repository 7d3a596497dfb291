"""Text in pictures, in the font that comes with Pillow."""

from functools import cache

from PIL import Image, ImageDraw, ImageFont

_EMPTY = "empty"
_MAX_SHARE = 0.8
_MAX_SIZE = 26


@cache
def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font in a size in pixels."""
    return ImageFont.load_default(size)


def label_empty(picture: Image.Image) -> Image.Image:
    """Writes on a picture that its map is empty, in letters that fit."""
    probe_size = 100
    share = _MAX_SHARE * picture.width / font(probe_size).getlength(_EMPTY)
    size = max(1.0, min(share * probe_size, _MAX_SIZE))
    ImageDraw.Draw(picture).text(
        (picture.width / 2, picture.height / 2),
        _EMPTY,
        font=font(size),
        anchor="mm",
        fill="white",
        stroke_fill="black",
        stroke_width=size / 16,
    )
    return picture


def wrapped(text: str, size: float, width: int) -> list[str]:
    """Breaks a text into lines of at most a width in pixels; a word too long for one is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if font(size).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_cut(word, size, width))
    return [line for line in lines if line]


def _cut(word: str, size: float, width: int) -> str:
    if font(size).getlength(word) <= width:
        return word
    ends = range(len(word), 0, -1)
    cuts = (f"{word[:end]}…" for end in ends)
    return next((cut for cut in cuts if font(size).getlength(cut) <= width), "…")
