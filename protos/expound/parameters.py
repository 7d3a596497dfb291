"""Defaults and ranges of parameters, read from the field options of the contract.

The .proto files are the one source of truth: the server validates and resolves requests with these
functions, the SDK makes its method classes and the documentation from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from expound.v1 import method_pb2, parameter_pb2, tensor_pb2

_LENGTHS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


@dataclass(frozen=True)
class Violation:
    """One field that breaks its rule: its path from the root message, and what is allowed."""

    field: str
    description: str


@cache
def rule(field: FieldDescriptor) -> parameter_pb2.ParameterRule:
    """The rule written beside a field in the .proto; an empty one where there is none."""
    return field.GetOptions().Extensions[parameter_pb2.parameter]


@cache
def default(field: FieldDescriptor) -> float | int | bool | str | None:
    """The default of a field; None without.

    An enum's is its number, a Duration's is in seconds, and that of a message which is one choice
    (a oneof) is the name of the chosen member.
    """
    written = rule(field)
    name = written.WhichOneof("default")
    if name is None:
        return None
    value: float | int | bool | str = getattr(written, name)
    if field.enum_type is not None:
        return int(field.enum_type.values_by_name[str(value)].number)
    return value


def allowed(field: FieldDescriptor) -> str:
    """What a field's rule allows, in words: "10 to 100000 evaluations"; empty without a range."""
    written = rule(field)
    bounds = []
    if written.HasField("minimum"):
        bounds.append(f"{'above' if written.exclusive_minimum else 'from'} {written.minimum:.12g}")
    if written.HasField("maximum"):
        bounds.append(f"{'to' if bounds else 'up to'} {written.maximum:.12g}")
    unit = _length_unit(field) or written.unit
    return " ".join([*bounds, unit]).strip() if bounds else ""


def resolve(message: Message) -> None:
    """Fills every absent parameter that has a default, in place, through all set sub-messages."""
    for field in _with_default(message.DESCRIPTOR):
        if not _given(message, field):
            _fill(message, field)
    for child, _ in children(message, ""):
        resolve(child)


def violations(message: Message, path: str = "") -> Iterator[Violation]:
    """Every field, at any depth, whose value is outside the range written beside it."""
    for field, enum in _enums(message.DESCRIPTOR):
        number = getattr(message, field.name)
        if number not in enum.values_by_number:
            names = ", ".join(value.name for value in enum.values if value.number)
            yield Violation(_join(path, field), f"{number} is not one of {names}")
    for field in _with_range(message.DESCRIPTOR):
        if _given(message, field) or _required(field):
            measured = _measure(message, field)
            if measured is not None and not _in_range(measured, rule(field)):
                description = f"must be {allowed(field)}, not {measured:.16g}"
                yield Violation(_join(path, field), description)
    for child, child_path in children(message, path):
        yield from violations(child, child_path)


def children(message: Message, path: str = "") -> Iterator[tuple[Message, str]]:
    """The set sub-messages that may hold parameters, with their paths.

    Those of a list above its maximum are left out: the list is refused whole, and nobody makes a
    server walk through a million of them.
    """
    if not _may_have_children(message.DESCRIPTOR):
        return
    for field, value in message.ListFields():
        if not _holds_parameters(field):
            continue
        field_path = _join(path, field)
        if not field.is_repeated:
            yield value, field_path
        elif not rule(field).HasField("maximum") or len(value) <= rule(field).maximum:
            yield from ((item, f"{field_path}[{index}]") for index, item in enumerate(value))


def method_fields() -> list[FieldDescriptor]:
    """The fields of the `Method` oneof, in the order of the contract: one a method."""
    return [
        field
        for field in _fields(method_pb2.Method.DESCRIPTOR)
        if field.containing_oneof is not None
    ]


def method_names() -> list[str]:
    """The names of all methods of the contract, in its order."""
    return [field.name for field in method_fields()]


@cache
def _fields(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    # The stubs call the C implementation of descriptors another type.
    return cast(tuple[FieldDescriptor, ...], tuple(descriptor.fields))


@cache
def _with_default(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    """The fields that have a default, and are not absent because another one was chosen."""
    return tuple(
        field
        for field in _fields(descriptor)
        if default(field) is not None and not _is_choice(field)
    )


@cache
def _enums(descriptor: Descriptor) -> tuple[tuple[FieldDescriptor, EnumDescriptor], ...]:
    return tuple(
        (field, field.enum_type)
        for field in _fields(descriptor)
        if field.enum_type is not None and not field.is_repeated
    )


@cache
def _with_range(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    return tuple(field for field in _fields(descriptor) if allowed(field))


@cache
def _may_have_children(descriptor: Descriptor) -> bool:
    return any(_holds_parameters(field) for field in _fields(descriptor))


def _join(path: str, field: FieldDescriptor) -> str:
    return f"{path}.{field.name}" if path else field.name


@cache
def _holds_parameters(field: FieldDescriptor) -> bool:
    opaque = _is_duration(field) or _is_message(field, tensor_pb2.Tensor.DESCRIPTOR)
    return field.type == FieldDescriptor.TYPE_MESSAGE and not opaque


def _fill(message: Message, field: FieldDescriptor) -> None:
    """Gives a field its default."""
    value = default(field)
    if _is_duration(field):
        getattr(message, field.name).FromNanoseconds(int(float(value or 0) * 1e9))
    elif field.message_type is None:
        setattr(message, field.name, value)
    else:
        chosen = field.message_type.fields_by_name[str(value)]
        child = getattr(message, field.name)
        if chosen.message_type is None:
            _fill(child, chosen)
        else:
            getattr(child, chosen.name).SetInParent()


def _is_choice(field: FieldDescriptor) -> bool:
    """Whether the field is a member of a oneof: absent because another one was chosen."""
    oneof = field.containing_oneof
    return oneof is not None and len(oneof.fields) > 1


def _given(message: Message, field: FieldDescriptor) -> bool:
    if field.is_repeated:
        return len(getattr(message, field.name)) > 0
    if field.has_presence and not (field.message_type and rule(field).default_member):
        return message.HasField(field.name)
    if field.message_type is not None:
        return bool(getattr(message, field.name).ListFields())
    return bool(getattr(message, field.name))


def _required(field: FieldDescriptor) -> bool:
    """Whether an absent value must be measured too: a length with a minimum has no default."""
    written = rule(field)
    has_length = field.is_repeated or field.type in _LENGTHS
    return has_length and not field.has_presence and written.minimum > 0


def _measure(message: Message, field: FieldDescriptor) -> float | None:
    value = getattr(message, field.name)
    if field.is_repeated or field.type in _LENGTHS:
        return float(len(value))
    if _is_duration(field):
        return float(value.seconds + value.nanos / 1e9)
    if field.type == FieldDescriptor.TYPE_MESSAGE or field.enum_type is not None:
        return None
    return float(value)


def _in_range(value: float, written: parameter_pb2.ParameterRule) -> bool:
    above = not written.HasField("minimum") or (
        value > written.minimum or (value == written.minimum and not written.exclusive_minimum)
    )
    return above and (not written.HasField("maximum") or value <= written.maximum)


def _length_unit(field: FieldDescriptor) -> str:
    if field.is_repeated:
        return "elements"
    return {
        FieldDescriptor.TYPE_STRING: "characters",
        FieldDescriptor.TYPE_BYTES: "bytes",
    }.get(field.type, "")


@cache
def _is_duration(field: FieldDescriptor) -> bool:
    return _is_message(field, Duration.DESCRIPTOR)


def _is_message(field: FieldDescriptor, descriptor: Descriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == descriptor.full_name
