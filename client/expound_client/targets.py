"""What to explain: "top1", a class index or a label."""

import operator
import re
from typing import SupportsIndex, TypeAlias

from expound.v1 import explanation_pb2
from expound_client.errors import InvalidArgumentError

Target: TypeAlias = str | SupportsIndex
"""``"top1"``, ``"top3"``… for the most probable classes of each input; a class index, from 0; or
a label, letter for letter."""

_TOP = re.compile(r"top(\d{1,9})")


def to_target(target: Target) -> explanation_pb2.Target:
    """Makes the message of a target. Raises InvalidArgumentError for anything else."""
    if isinstance(target, str):
        top = _TOP.fullmatch(target)
        if top:
            # A zero would be taken for the default by a reader that does not tell absent from 0.
            return explanation_pb2.Target(top_k=_within("target.top_k", int(top[1]), 1))
        return explanation_pb2.Target(label=target)
    try:
        index = operator.index(target)
    except TypeError:
        raise InvalidArgumentError.of(
            "target", f'must be "top1", a class index or a label, not {target!r}'
        ) from None
    return explanation_pb2.Target(class_index=_within("target.class_index", index, 0))


def _within(field: str, value: int, minimum: int) -> int:
    if not minimum <= value < 2**31:
        raise InvalidArgumentError.of(field, f"must be at least {minimum}, not {value}")
    return value
