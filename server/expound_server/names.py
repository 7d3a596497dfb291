"""Resource names: `explanations/ID` and `models/NAME`."""

import re
import secrets

from expound.parameters import Violation
from expound_server.errors import InvalidRequest

_EXPLANATION = re.compile(r"explanations/([0-9a-f]{32})")


def new_explanation_id() -> str:
    """An id that nobody can guess: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def explanation_name(explanation_id: str) -> str:
    """Resource name of an explanation."""
    return f"explanations/{explanation_id}"


def explanation_id(name: str) -> str:
    """Id in the name of an explanation. Raises InvalidRequest when it is malformed."""
    match = _EXPLANATION.fullmatch(name)
    if match is None:
        description = "must be explanations/ID, with an ID of 32 hexadecimal digits"
        raise InvalidRequest([Violation("name", description)])
    return match[1]


def model_name(name: str) -> str:
    """Name of a model without `models/`, which may be left out."""
    return name.removeprefix("models/")
