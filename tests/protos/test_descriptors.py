"""Rules that the whole contract keeps, read from its descriptors."""

from collections.abc import Iterator

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from expound import parameters
from expound.v1 import explanation_pb2, method_pb2

METHODS = [
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "gradient_shap",
    "deep_lift",
    "deep_lift_shap",
    "guided_backprop",
    "deconvolution",
    "grad_cam",
    "guided_grad_cam",
    "layer_activation",
    "layer_conductance",
    "lrp",
    "occlusion",
    "feature_ablation",
    "lime",
    "kernel_shap",
    "partition_shap",
    "permutation_shap",
    "rise",
    "grad_cam_plus_plus",
    "layer_cam",
    "score_cam",
    "eigen_cam",
    "deep_shap",
]

# What descriptor.proto calls the declarations within a file, a message, an enum and a service.
DECLARATIONS = [
    "message_type",
    "nested_type",
    "enum_type",
    "value",
    "field",
    "oneof_decl",
    "extension",
    "service",
    "method",
]
NUMBERS = (
    FieldDescriptor.TYPE_DOUBLE,
    FieldDescriptor.TYPE_FLOAT,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
)
OPAQUE = ("google.protobuf.Duration", "expound.v1.Tensor")


def declarations(
    parent: Message, path: tuple[int, ...] = (), scope: str = ""
) -> Iterator[tuple[tuple[int, ...], str, Message]]:
    """Every declaration below one: its path in the source info, its name, and itself."""
    for field, children in parent.ListFields():
        if field.name not in DECLARATIONS:
            continue
        for index, child in enumerate(children):
            child_path, name = (*path, field.number, index), f"{scope}.{child.name}"
            yield child_path, name, child
            yield from declarations(child, child_path, name)


def is_written(path: tuple[int, ...], info: descriptor_pb2.SourceCodeInfo) -> bool:
    """Whether a declaration stands in the source; map entries and `optional`'s oneofs do not."""
    return any(tuple(location.path) == path for location in info.location)


def fields_below(descriptor: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Every field of a message and of the messages it is made of."""
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield field
        child = field.message_type
        if child is not None and child.full_name not in (*OPAQUE, *seen):
            yield from fields_below(child, seen)


REQUEST_FIELDS = list(fields_below(explanation_pb2.ExplainRequest.DESCRIPTOR, set()))
METHOD_FIELDS = list(fields_below(method_pb2.Method.DESCRIPTOR, set()))
DEFAULTS = [field for field in REQUEST_FIELDS if parameters.default(field) is not None]


def by_name(field: FieldDescriptor) -> str:
    return field.full_name.removeprefix("expound.v1.")


def test_every_declaration_has_a_comment(
    files: list[descriptor_pb2.FileDescriptorProto],
) -> None:
    bare, seen = [], 0
    for file in files:
        info = file.source_code_info
        comments = {
            tuple(location.path): location.leading_comments or location.trailing_comments
            for location in info.location
        }
        for path, name, _ in declarations(file):
            if is_written(path, info):
                seen += 1
                if not comments[path].strip():
                    bare.append(f"{file.name}{name}")
    assert not bare
    assert seen > 300


def test_every_enum_begins_with_unspecified(
    files: list[descriptor_pb2.FileDescriptorProto],
) -> None:
    enums = [
        declaration
        for file in files
        for _, _, declaration in declarations(file)
        if isinstance(declaration, descriptor_pb2.EnumDescriptorProto)
    ]
    assert enums
    for enum in enums:
        zero = [value.name for value in enum.value if value.number == 0]
        assert len(zero) == 1 and zero[0].endswith("_UNSPECIFIED"), enum.name


def test_no_parameter_is_an_untyped_bag() -> None:
    for field in REQUEST_FIELDS:
        if field.message_type is not None:
            full_name = field.message_type.full_name
            assert not field.message_type.GetOptions().map_entry, field.full_name
            assert full_name.startswith("expound.v1.") or full_name in OPAQUE, field.full_name


@pytest.mark.parametrize("field", METHOD_FIELDS, ids=by_name)
def test_every_number_of_a_method_has_a_range(field: FieldDescriptor) -> None:
    if field.type in NUMBERS:
        rule = parameters.rule(field)
        assert rule.HasField("minimum") and rule.HasField("maximum")
        assert rule.minimum < rule.maximum


@pytest.mark.parametrize("field", DEFAULTS, ids=by_name)
def test_every_default_is_a_value_that_its_field_allows(field: FieldDescriptor) -> None:
    rule, default = parameters.rule(field), parameters.default(field)
    kind = rule.WhichOneof("default")
    if field.message_type is not None and field.message_type.full_name not in OPAQUE:
        assert kind == "default_member"
        assert default in [member.name for member in field.message_type.oneofs[0].fields]
    elif field.enum_type is not None:
        assert kind == "default_enum"
        assert default != 0
    elif field.type == FieldDescriptor.TYPE_BOOL:
        assert kind == "default_boolean"
    else:
        is_integer = field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64)
        assert kind == ("default_integer" if is_integer else "default_number")
        assert isinstance(default, int | float)
        assert default > rule.minimum or (default == rule.minimum and not rule.exclusive_minimum)
        assert not rule.HasField("maximum") or default <= rule.maximum


@pytest.mark.parametrize("field", DEFAULTS, ids=by_name)
def test_a_default_stands_only_where_absence_can_be_told_from_zero(field: FieldDescriptor) -> None:
    assert field.has_presence or field.enum_type is not None


def test_the_methods_are_those_of_the_design_in_its_order() -> None:
    assert parameters.method_names() == METHODS
    assert [field.number for field in parameters.method_fields()] == list(range(2, 27))


def test_every_method_has_a_message_of_its_own() -> None:
    messages = [
        field.message_type.name for field in parameters.method_fields() if field.message_type
    ]
    assert [name.lower() for name in messages] == [name.replace("_", "") for name in METHODS]
