"""Random messages of the contract, in range and out of it, and random damage to their bytes.

All of it is drawn from a seed, so that what has gone wrong once goes wrong again.
"""

import random
import string
from collections.abc import Callable
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from expound import parameters

_MAX_DEPTH = 6
_WORDS = (
    "", "tiny", "models/tiny", "flat", "slow", "models/", "cat", "bird", "lime", "features.0",
    "explanations/" + "0" * 32, "explanations/", "../etc/passwd", "\0", "\n", "é" * 70, "a" * 5000,
    "'; FLUSHALL", "{}", "%s", "-1", "\U0001d54f\u202e",
)  # fmt: skip
_FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 3e38, -3e38, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
_BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Fuzzer:
    """Draws messages and bytes from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        """Whether something happens that happens with this probability."""
        return self._random.random() < probability

    def choice(self, items: list[Any]) -> Any:
        """One of the items."""
        return self._random.choice(items)

    def message(self, kind: Descriptor) -> Message:
        """A message of a kind, whose fields are set or not, in their range or not."""
        message: Message = GetMessageClass(kind)()
        self._fill(message, 0)
        return message

    def change(self, message: Message) -> None:
        """Draws one field anew, here or in what the message holds."""
        while True:
            field = self._random.choice(_fields(message))
            if field.message_type is None or self.chance(0.3) or _is_absent(message, field):
                break
            value = getattr(message, field.name)
            message = self._random.choice(value) if field.is_repeated else value
            if not _fields(message):
                return
        message.ClearField(field.name)
        if self.chance(0.9):
            self._set(message, field, 0)

    def damaged(self, data: bytes) -> bytes:
        """Bytes with some of them flipped, cut out, doubled, put in or cut off."""
        damaged = bytearray(data)
        for _ in range(self._random.choice((1, 1, 2, 8, 64))):
            start = self._random.randrange(len(damaged) + 1)
            end = min(len(damaged), start + self._random.choice((1, 1, 4, 100)))
            self._random.choice(_DAMAGES)(self._random, damaged, start, end)
        return bytes(damaged)

    def _fill(self, message: Message, depth: int) -> None:
        for field in _fields(message):
            if self.chance(0.3 if depth else 0.7):
                self._set(message, field, depth)

    def _set(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        count = self._random.choice((1, 1, 1, 2, 3, 40)) if field.is_repeated else 1
        if field.message_type is None:
            values = [self._value(field) for _ in range(count)]
            if field.is_repeated:
                getattr(message, field.name).extend(values)
            else:
                setattr(message, field.name, values[0])
        elif depth < _MAX_DEPTH:
            for _ in range(min(count, 3)):
                held = getattr(message, field.name)
                child = held.add() if field.is_repeated else held
                child.SetInParent()
                self._fill(child, depth + 1)

    def _value(self, field: FieldDescriptor) -> Any:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return self.chance(0.5)
        if field.enum_type is not None:
            known = [value.number for value in field.enum_type.values]
            return self._random.choice([*known, *known, -1, 99, 2**31 - 1])
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self._text() if field.type == FieldDescriptor.TYPE_STRING else self._bytes()
        return self._number(field)

    def _number(self, field: FieldDescriptor) -> float | int:
        written = parameters.rule(field)
        low, high = written.minimum, written.maximum
        near = [low, high, (low + high) / 2, low - 1, high + 1, self._random.uniform(low, high)]
        if field.cpp_type not in _BOUNDS:
            return float(self._random.choice([*near, *_FLOATS]))
        bounds = _BOUNDS[field.cpp_type]
        number = int(self._random.choice([*near, *near, 0, 1, *bounds]))
        return min(max(number, bounds[0]), bounds[1])

    def _text(self) -> str:
        if self.chance(0.2):
            return "".join(self._random.choices(string.printable, k=self._random.randrange(130)))
        return self._random.choice(_WORDS)

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 4, 12, 192, 576, 5000)))


def _fields(message: Message) -> list[FieldDescriptor]:
    return cast(list[FieldDescriptor], list(message.DESCRIPTOR.fields))


def _is_absent(message: Message, field: FieldDescriptor) -> bool:
    if field.is_repeated:
        return not getattr(message, field.name)
    return not message.HasField(field.name)


def _flip(chance: random.Random, data: bytearray, start: int, end: int) -> None:
    data[start:end] = bytes(byte ^ 1 << chance.randrange(8) for byte in data[start:end])


def _cut_out(_chance: random.Random, data: bytearray, start: int, end: int) -> None:
    del data[start:end]


def _double(_chance: random.Random, data: bytearray, start: int, end: int) -> None:
    data[start:start] = data[start:end]


def _put_in(chance: random.Random, data: bytearray, start: int, end: int) -> None:
    data[start:start] = chance.randbytes(max(end - start, 1))


def _cut_off(_chance: random.Random, data: bytearray, start: int, _end: int) -> None:
    del data[start:]


_DAMAGES: tuple[Callable[[random.Random, bytearray, int, int], None], ...] = (
    _flip, _flip, _cut_out, _double, _put_in, _cut_off,
)  # fmt: skip
