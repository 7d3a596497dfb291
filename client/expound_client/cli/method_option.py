"""`-m METHOD[:key=value,…]`: a method and its parameters on the command line.

Parameters are named as in the contract, those of parts by dotted paths, and a choice by the name
of what is chosen: ``lime:n_samples=200,segmentation.slic.n_segments=40,baseline=blur``.
"""

from collections.abc import Iterator
from typing import Any, TypeVar, cast

import click
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from expound import parameters
from expound.v1 import method_pb2, tensor_pb2
from expound_client.method import choices, is_choice

_Value = TypeVar("_Value")

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FLOATS = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)


class MethodOption(click.ParamType[method_pb2.Method]):
    """Turns the text of the option into the message of the contract."""

    name = "METHOD[:key=value,…]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> method_pb2.Method:
        """Parses one option."""
        try:
            return value if isinstance(value, method_pb2.Method) else parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse(text: str) -> method_pb2.Method:
    """Parses a method and its parameters. Raises ValueError, which names what is allowed."""
    name, _, listed = text.partition(":")
    if name not in parameters.method_names():
        known = ", ".join(parameters.method_names())
        raise ValueError(f"{name!r} is not a method; those are {known}")
    method = method_pb2.Method()
    chosen = getattr(method, name)
    chosen.SetInParent()
    for setting in filter(None, listed.split(",")):
        path, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"{setting!r} must be written as key=value")
        if path == "key":
            method.key = value
        else:
            _set(chosen, name, path, value)
    wrong = [f"{each.field} {each.description}" for each in parameters.violations(method)]
    if wrong:
        raise ValueError("; ".join(wrong))
    return method


def allowed_paths(descriptor: Descriptor, prefix: str = "") -> Iterator[str]:
    """The paths of all parameters that can be given on the command line."""
    for field in cast(list[FieldDescriptor], list(descriptor.fields)):
        path = f"{prefix}{field.name}"
        if field.is_repeated or _is_tensor(field):
            continue
        if field.message_type is None or is_choice(field.message_type):
            yield path
        if field.message_type is not None:
            yield from allowed_paths(field.message_type, f"{path}.")


def members(choice: Descriptor) -> list[str]:
    """The names of what can be chosen, in a message that is one choice."""
    fields = cast(list[FieldDescriptor], list(choice.fields))
    return [field.name for field in fields if not _is_tensor(field)]


def _set(message: Message, method: str, path: str, text: str) -> None:
    """Sets the parameter at a path below a method's message."""
    allowed = list(allowed_paths(cast(Descriptor, message.DESCRIPTOR)))
    if path not in allowed:
        named = ", ".join(["key", *allowed])
        raise ValueError(f"{method} has no parameter {path!r}; it has {named}")
    *parents, last = path.split(".")
    for parent in parents:
        message = getattr(message, parent)
    field = cast(FieldDescriptor, message.DESCRIPTOR.fields_by_name[last])
    if field.message_type is not None:
        member = _one_of(path, text, {name: name for name in members(field.message_type)})
        getattr(getattr(message, last), member).SetInParent()
    else:
        setattr(message, last, _value(field, path, text))


def _value(field: FieldDescriptor, path: str, text: str) -> int | float | bool | str:
    if field.enum_type is not None:
        return _one_of(path, text, choices(field.enum_type))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _one_of(path, text.lower(), _BOOLEANS)
    if field.type == FieldDescriptor.TYPE_STRING:
        return text
    kind, called = (float, "a number") if field.type in _FLOATS else (int, "an integer")
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{path} must be {called}, not {text!r}") from None


def _one_of(path: str, text: str, allowed: dict[str, _Value]) -> _Value:
    if text not in allowed:
        raise ValueError(f"{path} must be one of {', '.join(allowed)}, not {text!r}")
    return allowed[text]


def _is_tensor(field: FieldDescriptor) -> bool:
    return field.message_type is tensor_pb2.Tensor.DESCRIPTOR
