"""Where commands print: names and labels come out letter for letter, and command no terminal."""

from collections.abc import Iterable

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_MARK = "\N{REPLACEMENT CHARACTER}"
# C0 but the end of a line, DEL and C1: a terminal takes them for commands.
_MARKED = {code: _MARK for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\n"}


def visible(text: str) -> str:
    """Puts a mark in place of each control character of a text but the ends of its lines."""
    return text.translate(_MARKED)


def echo(text: str, *, err: bool = False) -> None:
    """Prints a text of others, its control characters marked."""
    click.echo(visible(text), err=err)


def plain_console(*, stderr: bool = False) -> Console:
    """Makes a console that takes no text of others for markup, emoji codes or commands."""
    return _PlainConsole(stderr=stderr, markup=False, emoji=False)


class _PlainConsole(Console):
    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Renders as the base does; what rich itself tells the terminal stays as it is.

        A mark is wider than what it stands for, which may cost a text its end.
        """
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=visible(segment.text))
