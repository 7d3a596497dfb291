"""What a request must be: defaults filled in, then everything that is wrong with it, at once.

Pure functions over a request and a model's card; nothing is decoded, and no weights are needed.
"""

import re
from collections.abc import Iterator, Sequence
from heapq import nlargest, nsmallest
from itertools import takewhile

from google.protobuf.message import Message

from expound import parameters
from expound.parameters import Violation
from expound.v1 import explanation_pb2, method_pb2, model_service_pb2, tensor_pb2
from expound_server import tensor_validation
from expound_server.combinations import combination_violations
from expound_server.errors import InvalidRequest, MethodNotImplemented, MethodUnsupported, named
from expound_server.names import model_name

_NEAREST = 3
_KEY = re.compile(r"[A-Za-z0-9_]+")
_VALUES_DTYPES = (tensor_pb2.DATA_TYPE_FLOAT32, tensor_pb2.DATA_TYPE_FLOAT16)


def check_fields(message: Message) -> None:
    """Raises InvalidRequest when a field is outside the range that the contract gives it."""
    found = list(parameters.violations(message))
    if found:
        raise InvalidRequest(found)


def resolve(request: explanation_pb2.ExplainRequest) -> None:
    """Fills in every default, in place: afterwards the request says exactly what runs."""
    request.model = model_name(request.model)
    request.output.SetInParent()
    parameters.resolve(request)
    _fill_keys([method for method, _ in _parts(request) if isinstance(method, method_pb2.Method)])


def violations(request: explanation_pb2.ExplainRequest) -> Iterator[Violation]:
    """What is wrong with a resolved request, whatever its model."""
    yield from parameters.violations(request)
    if request.output.values_dtype not in _VALUES_DTYPES:
        yield Violation("output.values_dtype", "must be DATA_TYPE_FLOAT32 or DATA_TYPE_FLOAT16")
    keys: dict[str, str] = {}
    for part, path in _parts(request):
        yield from _choice_violations(part, path)
        if isinstance(part, explanation_pb2.Input) and part.HasField("tensor"):
            yield from tensor_validation.input_violations(part.tensor, f"{path}.tensor")
        if isinstance(part, method_pb2.Method):
            yield from _key_violations(part.key, f"{path}.key", keys)


def model_violations(
    request: explanation_pb2.ExplainRequest, model: model_service_pb2.Model
) -> Iterator[Violation]:
    """What does not fit the model in a resolved request."""
    yield from _target_violations(request.target, model)
    for part, path in _parts(request):
        if isinstance(part, explanation_pb2.Input) and part.HasField("tensor"):
            if part.tensor.dtype == tensor_pb2.DATA_TYPE_FLOAT32:
                yield from tensor_validation.model_input_violations(
                    part.tensor, f"{path}.tensor", model.input_shape
                )
        elif isinstance(part, method_pb2.Method):
            for method, method_path in parameters.children(part, path):
                yield from _method_violations(method, method_path, model)


def check_methods(methods: Sequence[method_pb2.Method], model: model_service_pb2.Model) -> None:
    """Raises MethodNotImplemented or MethodUnsupported unless all can explain the model."""
    capabilities = {capability.method: capability for capability in model.capabilities}
    unknown: dict[str, Violation] = {}
    unsupported: dict[str, Violation] = {}
    for index, method in enumerate(methods):
        name = method.WhichOneof("method") or ""
        path = f"methods[{index}].{name}"
        if name not in capabilities:
            unknown.setdefault(name, Violation(path, "is not implemented yet"))
        elif capabilities[name].support == model_service_pb2.Capability.SUPPORT_UNSUPPORTED:
            unsupported.setdefault(name, Violation(path, capabilities[name].reason))
    if unknown:
        raise MethodNotImplemented(next(iter(unknown)), list(capabilities), list(unknown.values()))
    if unsupported:
        refused, violation = next(iter(unsupported.items()))
        raise MethodUnsupported(
            refused, model_name(model.name), violation.description, list(unsupported.values())
        )


def _parts(message: Message, path: str = "") -> Iterator[tuple[Message, str]]:
    """All set sub-messages at any depth, with their paths."""
    for part, part_path in parameters.children(message, path):
        yield part, part_path
        yield from _parts(part, part_path)


def _fill_keys(methods: Sequence[method_pb2.Method]) -> None:
    taken = {method.key for method in methods}
    for method in methods:
        name = method.WhichOneof("method")
        if name and not method.key:
            method.key = _free_key(name + _noise_suffix(getattr(method, name)), taken)
            taken.add(method.key)


def _noise_suffix(method: Message) -> str:
    """The type of the method's noise tunnel, as "_smoothgrad"; empty without one."""
    for part, _ in parameters.children(method):
        if isinstance(part, method_pb2.NoiseTunnel):
            known = method_pb2.NoiseTunnel.Type.DESCRIPTOR.values_by_number.get(part.type)
            return known.name.removeprefix("TYPE").lower() if known else ""
    return ""


def _free_key(natural: str, taken: set[str]) -> str:
    key, number = natural, 1
    while key in taken:
        number += 1
        key = f"{natural}_{number}"
    return key


def _key_violations(key: str, path: str, seen: dict[str, str]) -> Iterator[Violation]:
    if not key:
        return
    if not _KEY.fullmatch(key):
        yield Violation(path, "must be letters, digits and underscores")
    if key in seen:
        yield Violation(path, f"repeats {seen[key]}; keys must be unique")
    seen.setdefault(key, path)


def _choice_violations(message: Message, path: str) -> Iterator[Violation]:
    """A violation when the message is one choice, and nothing is chosen."""
    for oneof in message.DESCRIPTOR.oneofs:
        if len(oneof.fields) > 1 and message.WhichOneof(oneof.name) is None:
            names = ", ".join(field.name for field in oneof.fields)
            yield Violation(path, f"exactly one must be set of: {names}")


def _target_violations(
    target: explanation_pb2.Target, model: model_service_pb2.Model
) -> Iterator[Violation]:
    chosen = target.WhichOneof("target")
    if chosen == "top_k" and target.top_k > model.class_count:
        yield Violation("target.top_k", f"the model has {model.class_count} classes")
    if chosen == "class_index" and target.class_index >= model.class_count:
        yield Violation(
            "target.class_index", f"must be 0 to {model.class_count - 1}, not {target.class_index}"
        )
    if chosen == "label" and list(model.labels).count(target.label) != 1:
        yield Violation("target.label", _label_problem(target.label, model))


def _label_problem(label: str, model: model_service_pb2.Model) -> str:
    if not model.labels:
        return "the model has no labels; give a class_index"
    indices = [index for index, known in enumerate(model.labels) if known == label]
    if indices:
        return f"is the label of several classes, {named(map(str, indices))}; give a class_index"
    problem = "is not a label of the model, letter for letter"
    near = {known for known in model.labels if label.casefold() in known.casefold()}
    if not near:
        return f"{problem}; GetModel lists them"
    shortest = ", ".join(nsmallest(_NEAREST, near, key=lambda known: (len(known), known)))
    return f"{problem}, those with it in them: {shortest}; GetModel lists all"


def _shared_start(one: str, other: str) -> int:
    """How many letters two names begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _layer_problem(layer: str, model: model_service_pb2.Model) -> str:
    names = [known.name for known in model.layers]
    nearest = nlargest(
        _NEAREST, names, key=lambda name: (layer in name, _shared_start(name, layer))
    )
    return (
        "is not a layer of the model with a spatial output; GetModel lists them, the nearest: "
        f"{', '.join(nearest) or 'none'}"
    )


def _method_violations(
    method: Message, path: str, model: model_service_pb2.Model
) -> Iterator[Violation]:
    fields = method.DESCRIPTOR.fields_by_name
    layer = getattr(method, "layer", "")
    if layer and layer not in {known.name for known in model.layers}:
        yield Violation(f"{path}.layer", _layer_problem(layer, model))
    yield from combination_violations(method, path, model.input_shape)
    for part, part_path in _parts(method, path):
        if isinstance(part, method_pb2.Baseline):
            if part.HasField("segment_mean") and "segmentation" not in fields:
                yield Violation(
                    f"{part_path}.segment_mean", "is only for methods that have a segmentation"
                )
            if part.HasField("tensor"):
                yield from tensor_validation.baseline_violations(
                    part.tensor, f"{part_path}.tensor", model.input_shape
                )
        elif isinstance(part, method_pb2.Segmentation) and part.HasField("labels"):
            yield from tensor_validation.labels_violations(
                part.labels, f"{part_path}.labels", model.input_shape
            )
        elif isinstance(part, method_pb2.GridSegmentation):
            yield from _grid_violations(part, part_path, model)


def _grid_violations(
    grid: method_pb2.GridSegmentation, path: str, model: model_service_pb2.Model
) -> Iterator[Violation]:
    _, height, width = model.input_shape
    if grid.rows > height:
        yield Violation(f"{path}.rows", f"must be at most the input's height, {height}")
    if grid.columns > width:
        yield Violation(f"{path}.columns", f"must be at most the input's width, {width}")
