"""Pieces of HTML that the page is made of; every text that they take is escaped."""

import base64
import io
from collections.abc import Iterable
from html import escape

from PIL import Image


def picture(drawn: Image.Image, description: str, *, pixelated: bool = False) -> str:
    """An image that the page itself holds."""
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG", optimize=True)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    style = ' style="image-rendering:pixelated"' if pixelated else ""
    return f'<img src="data:image/png;base64,{encoded}" alt="{escape(description)}"{style}>'


def figure(drawn: str, caption: str) -> str:
    """A picture with its caption; `drawn` is made by `picture`."""
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def definitions(pairs: Iterable[tuple[str, str]], *, left: bool = False) -> str:
    """Names and values, one pair a line."""
    lines = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    kind = ' class="left"' if left else ""
    return f"<dl{kind}>{''.join(lines)}</dl>"


def note(text: str, *, bad: bool = False) -> str:
    """A remark that must not be missed."""
    return f'<p class="note{" bad" if bad else ""}">{escape(text)}</p>'


def details(summary: str, content: str) -> str:
    """Something that opens with a click; `content` is HTML."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
