"""Where commands print: names and labels come out letter for letter."""

from rich.console import Console


def plain_console(*, stderr: bool = False) -> Console:
    """Makes a console that takes no text of others for markup or emoji codes of rich."""
    return Console(stderr=stderr, markup=False, emoji=False)
