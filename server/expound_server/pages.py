"""Pages of lists: their size, and the tokens that say where the next one begins."""

import base64
from collections.abc import Callable
from typing import TypeVar

from expound.parameters import Violation
from expound_server.errors import InvalidRequest

LARGEST = 100

_Position = TypeVar("_Position")


def size(requested: int, default: int) -> int:
    """Number of entries on a page; 0 asks for the default."""
    return min(requested or default, LARGEST)


def token(kind: str, position: object) -> str:
    """Token of the page behind a position in the list of a kind; opaque to callers."""
    return base64.urlsafe_b64encode(f"{kind}:{position}".encode()).decode()


def position(kind: str, token: str, parse: Callable[[str], _Position]) -> _Position:
    """Position in a token. Raises InvalidRequest unless a page of the same list gave it."""
    try:
        decoded = base64.b64decode(token, altchars=b"-_", validate=True).decode()
        prefix, _, found = decoded.partition(":")
        if prefix == kind:
            return parse(found)
    except ValueError:
        pass
    description = "is not the next_page_token of an earlier page of this list"
    raise InvalidRequest([Violation("page_token", description)])
