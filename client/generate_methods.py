"""Makes `expound_client/methods.py` from the contract: `python client/generate_methods.py`.

Names, defaults, ranges and units come from the compiled descriptors, descriptions from the
comments in the .proto files.
"""

import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from expound import parameters
from expound.v1 import method_pb2
from expound_client.method import choices, is_choice

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "client" / "expound_client" / "methods.py"
PROTO = "expound/v1/method.proto"
WIDTH = 100

HEADER = '''\
"""The methods of explanation and their shared parts, one class for each message of the contract.

Made by `client/generate_methods.py` from `expound/v1/method.proto`; not to be edited by hand.

Every class is a frozen dataclass with keyword arguments, and checks the ranges given below when it
is made: InvalidArgumentError names the field. None, or an empty value, means absent. "Model input
units" are those of the tensor that enters the network, after preprocessing; "evaluations" are
forward passes of one image.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from numpy.typing import NDArray

from expound.v1 import method_pb2
from expound_client.method import Method, Parameters
'''

TYPES = {
    FieldDescriptor.TYPE_DOUBLE: "float",
    FieldDescriptor.TYPE_INT32: "int",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "str",
}


def generate() -> str:
    """The source of the module."""
    comments = _comments()
    names = {_message(field).name: field.name for field in parameters.method_fields()}
    messages = method_pb2.DESCRIPTOR.message_types_by_name.values()
    others = [message for message in messages if message.name not in {*names, "Method"}]
    parts = [message for message in others if not is_choice(message)]
    blocks = [
        *(_class(message, None, comments) for message in parts),
        *(_alias(message, comments) for message in others if message not in parts),
        *(_class(_message(field), field.name, comments) for field in parameters.method_fields()),
    ]
    table = "".join(f"    {class_name}.name: {class_name},\n" for class_name in names)
    blocks.append(
        f"METHODS: dict[str, type[Method]] = {{\n{table}}}\n"
        '"""Every method of the contract by its name, in the contract\'s order."""'
    )
    return _formatted("\n\n".join([HEADER, *blocks]) + "\n")


def _class(message: Descriptor, name: str | None, comments: dict[str, str]) -> str:
    fields = cast(list[FieldDescriptor], list(message.fields))
    lines = [
        "@dataclass(frozen=True, kw_only=True, eq=False)",
        f"class {message.name}({'Method' if name else 'Parameters'}):",
        *_docstring(message, fields, comments),
        "",
        f"    _message = method_pb2.{message.name}",
        *([f'    name: ClassVar[str] = "{name}"'] if name else []),
    ]
    if fields:
        lines += ["", *(f"    {field.name}: {_annotation(field)}" for field in fields)]
    return "\n".join(lines)


def _alias(message: Descriptor, comments: dict[str, str]) -> str:
    """A message that is one choice among parts becomes the union of their classes."""
    union = " | ".join(_member_type(_message(field)) for field in message.fields)
    summary, rest = _sentences(comments[message.full_name])
    tensor = next(field for field in message.fields if _message(field).name == "Tensor")
    text = f"{rest} An array: {comments[tensor.full_name]}".strip()
    body = "\n".join(textwrap.wrap(text, WIDTH))
    return f'{message.name}: TypeAlias = {union}\n"""{summary}\n\n{body}\n"""'


def _message(field: FieldDescriptor) -> Descriptor:
    """The message of a field that holds one."""
    if field.message_type is None:
        raise TypeError(f"{field.full_name} holds no message")
    return field.message_type


def _member_type(message: Descriptor) -> str:
    return "NDArray[Any]" if message.name == "Tensor" else message.name


def _docstring(
    message: Descriptor, fields: list[FieldDescriptor], comments: dict[str, str]
) -> list[str]:
    summary, rest = _sentences(comments[message.full_name])
    lines = textwrap.wrap(rest, WIDTH - 4)
    if fields:
        lines += ["", "Attributes:"] if lines else ["Attributes:"]
        for field in fields:
            text = f"{field.name}: {_describe(field, comments)}"
            lines += textwrap.wrap(
                text, WIDTH - 8, initial_indent=" " * 4, subsequent_indent=" " * 8
            )
    if not lines:
        return [f'    """{summary}"""']
    return textwrap.indent("\n".join([f'"""{summary}', "", *lines, '"""']), " " * 4).split("\n")


def _describe(field: FieldDescriptor, comments: dict[str, str]) -> str:
    text = comments[field.full_name]
    if field.enum_type is not None:
        meanings = {value.number: comments[_value_name(value)] for value in field.enum_type.values}
        listed = (
            f'"{name}" ({meanings[number][0].lower()}{meanings[number][1:].rstrip(".")})'
            for name, number in choices(field.enum_type).items()
        )
        return f"{text.rstrip('.')}: {', '.join(listed)}."
    allowed = parameters.allowed(field)
    unit = "" if allowed else parameters.rule(field).unit
    extra = f"{allowed[0].upper()}{allowed[1:]}." if allowed else f"In {unit}." if unit else ""
    return f"{text} {extra}".strip()


def _annotation(field: FieldDescriptor) -> str:
    """Type and default of a field, as in a dataclass."""
    default = parameters.default(field)
    if field.enum_type is not None:
        names = choices(field.enum_type)
        chosen = next(name for name, number in names.items() if number == default)
        return f"Literal[{', '.join(map(repr, names))}] = {chosen!r}"
    if field.message_type is not None:
        kind = field.message_type.name
        if field.is_repeated:
            return f"tuple[{kind}, ...] = ()"
        if default is None:
            return f"{kind} | None = None"
        return f"{kind} = {_message(_message(field).fields_by_name[str(default)]).name}()"
    kind = TYPES[field.type]
    if default is not None:
        return f"{kind} = {float(default) if kind == 'float' else default!r}"
    return f"{kind} | None = None" if field.has_presence else f"{kind} = ''"


def _sentences(comment: str) -> tuple[str, str]:
    """The first sentence without its citation, and the rest with it."""
    summary, _, rest = re.sub(r"\.\s+(?=[A-Z])", ".\0", comment, count=1).partition("\0")
    citation = re.search(r" \(([^()]*\b\d{4}[^()]*)\)", summary)
    if citation:
        summary = summary.replace(citation.group(0), "")
        rest = f"{citation.group(1)}. {rest}".strip()
    return summary, rest


def _value_name(value: object) -> str:
    """Full name of an enum value beside its enum's, by which its comment is kept."""
    enum = value.type  # type: ignore[attr-defined]
    return f"{enum.full_name}.{value.name}"  # type: ignore[attr-defined]


def _comments() -> dict[str, str]:
    """The leading comment of every message, field, enum and enum value, by full name."""
    with tempfile.NamedTemporaryFile() as file:
        site_packages = Path(protoc.__file__).parents[1]
        arguments = [
            "protoc",
            f"--proto_path={ROOT / 'protos'}",
            f"--proto_path={site_packages}",
            f"--proto_path={site_packages / 'grpc_tools' / '_proto'}",
            "--include_source_info",
            f"--descriptor_set_out={file.name}",
            PROTO,
        ]
        if protoc.main(arguments):
            raise RuntimeError(f"protoc could not read {PROTO}")
        (proto,) = FileDescriptorSet.FromString(Path(file.name).read_bytes()).file
    return {
        _full_name(proto, list(location.path)): _text(location.leading_comments)
        for location in proto.source_code_info.location
        if location.leading_comments
    }


def _text(comment: str) -> str:
    """One line of a comment, without the sign that linters take for a letter."""
    return " ".join(comment.split()).replace("\u00d7", "x")


def _full_name(proto: FileDescriptorProto, path: list[int]) -> str:
    """Follows a source location's path of (field number, index) pairs through the descriptors."""
    names = [proto.package]
    node: object = proto
    for number, index in zip(path[::2], path[1::2], strict=False):
        field = node.DESCRIPTOR.fields_by_number[number]  # type: ignore[attr-defined]
        node = getattr(node, field.name)[index]
        names.append(node.name)  # type: ignore[attr-defined]
    return ".".join(names)


def _formatted(source: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    TARGET.write_text(generate(), encoding="utf-8")
