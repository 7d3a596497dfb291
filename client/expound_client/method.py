"""What the method classes of `methods` share: a check in the constructor, and `to_proto`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast

import numpy as np
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from expound import parameters
from expound.tensors import TensorError, to_tensor
from expound.v1 import method_pb2, tensor_pb2
from expound_client.errors import InvalidArgumentError


@dataclass(frozen=True, kw_only=True, eq=False)
class Parameters:
    """Parameters of a method, or of a part that methods share.

    They are checked against the ranges of the contract when they are made; two are equal when
    their messages are.
    """

    _message: ClassVar[type[Message]]

    def __post_init__(self) -> None:
        message = self.to_proto()
        violations = tuple(parameters.violations(message))
        if violations:
            listed = "; ".join(f"{each.field} {each.description}" for each in violations)
            raise InvalidArgumentError(f"{type(self).__name__}: {listed}", violations=violations)

    def to_proto(self) -> Message:
        """Makes the message of the contract."""
        message = self._message()
        for field in fields(self):
            if field.name in message.DESCRIPTOR.fields_by_name:
                _set(message, field.name, getattr(self, field.name))
        return message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.to_proto() == other.to_proto()

    def __hash__(self) -> int:
        return hash((type(self), self.to_proto().SerializeToString(deterministic=True)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Method(Parameters):
    """A method of explanation with its parameters.

    Attributes:
        name: name of the method.
        key: name of its result, unique in the request; letters, digits and underscores, up to 64.
            Empty: the name of the method, with the noise tunnel's type behind it if there is one.
    """

    name: ClassVar[str]

    key: str = ""

    def to_proto(self) -> method_pb2.Method:
        """Makes the message of the contract."""
        method = method_pb2.Method(key=self.key)
        getattr(method, self.name).CopyFrom(super().to_proto())
        return method


def choices(enum: EnumDescriptor) -> dict[str, int]:
    """The values of an enum, by the names that the SDK and the CLI use: "smoothgrad_sq"."""
    prefix = _common_prefix(enum)
    return {
        value.name.removeprefix(prefix).lower(): value.number
        for value in enum.values
        if value.number
    }


def is_choice(message: Descriptor) -> bool:
    """Whether the message is nothing but one choice among parts (a oneof)."""
    return bool(message.oneofs) and len(message.oneofs[0].fields) == len(message.fields) > 1


def _common_prefix(enum: EnumDescriptor) -> str:
    """What the names of its values begin with: TYPE_ of TYPE_UNSPECIFIED."""
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _set(message: Message, name: str, value: Any) -> None:
    """Sets a field of a message from a Python value; None leaves it absent."""
    field = cast(FieldDescriptor, message.DESCRIPTOR.fields_by_name[name])
    if value is None:
        return
    if field.is_repeated:
        if not isinstance(value, Sequence):
            raise InvalidArgumentError.of(name, f"must be a sequence, not {value!r}")
        for item in value:
            _fill(getattr(message, name).add(), name, item)
    elif field.message_type is not None:
        _fill(getattr(message, name), name, value)
    else:
        _set_scalar(message, field, value)


def _set_scalar(message: Message, field: FieldDescriptor, value: Any) -> None:
    if field.enum_type is not None:
        named = choices(field.enum_type)
        if value not in named:
            allowed = ", ".join(named)
            raise InvalidArgumentError.of(field.name, f"must be one of {allowed}, not {value!r}")
        value = named[value]
    try:
        setattr(message, field.name, value)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError.of(field.name, f"cannot be {value!r}: {error}") from error


def _fill(message: Message, name: str, value: Any) -> None:
    """Fills a message from a part of the SDK; of a choice, sets the member that the part is."""
    part = _part(name, value)
    if part.DESCRIPTOR is message.DESCRIPTOR:
        message.CopyFrom(part)
        return
    for member in message.DESCRIPTOR.fields:
        if member.message_type is part.DESCRIPTOR:
            getattr(message, member.name).CopyFrom(part)
            return
    raise InvalidArgumentError.of(name, f"cannot be a {type(value).__name__}")


def _part(name: str, value: Any) -> Message:
    if isinstance(value, Parameters):
        return value.to_proto()
    if isinstance(value, np.ndarray):
        return _tensor(name, value)
    raise InvalidArgumentError.of(name, f"cannot be {value!r}")


def _tensor(name: str, array: np.ndarray[Any, np.dtype[Any]]) -> tensor_pb2.Tensor:
    if array.dtype.kind in "iub":  # Label maps, of whatever integers they are made.
        array = array.astype(np.int32)
    try:
        return to_tensor(array)
    except TensorError as error:
        raise InvalidArgumentError.of(name, error.description) from error
