"""Defaults and ranges, read from the field options and put to use."""

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration

from expound import parameters
from expound.v1 import explanation_pb2, method_pb2, tensor_pb2


def paths(message: explanation_pb2.ExplainRequest | method_pb2.Method) -> dict[str, str]:
    """The violations of a message: description by path."""
    return {v.field: v.description for v in parameters.violations(message)}


def field(message: type, name: str) -> FieldDescriptor:
    found: FieldDescriptor = message.DESCRIPTOR.fields_by_name[name]  # type: ignore[attr-defined]
    return found


def valid_request() -> explanation_pb2.ExplainRequest:
    return explanation_pb2.ExplainRequest(
        model="m",
        inputs=[explanation_pb2.Input(image=b"x")],
        methods=[method_pb2.Method(saliency=method_pb2.Saliency())],
    )


def test_a_request_is_resolved_to_all_its_defaults() -> None:
    request = valid_request()
    parameters.resolve(request)
    assert request.target.top_k == 1
    assert request.HasField("seed") and request.seed == 0
    assert request.HasField("wait") and request.wait == Duration()
    assert request.timeout.seconds == 600
    assert request.ttl.seconds == 3600


def test_a_method_is_resolved_through_its_parts() -> None:
    lime = method_pb2.Method(lime=method_pb2.Lime()).lime
    parameters.resolve(lime)
    assert lime.n_samples == 1000
    assert lime.kernel_width == 0.25
    assert lime.HasField("n_features") and lime.n_features == 0
    assert lime.segmentation.slic.n_segments == 30
    assert lime.segmentation.slic.compactness == 10
    assert lime.baseline.WhichOneof("baseline") == "zero"
    assert not lime.HasField("max_standard_error")


def test_enums_and_booleans_are_resolved() -> None:
    grad_cam = method_pb2.GradCam()
    parameters.resolve(grad_cam)
    assert grad_cam.relu is True
    assert grad_cam.interpolation == method_pb2.INTERPOLATION_BILINEAR
    assert grad_cam.layer == ""


def test_what_was_given_is_kept_even_if_it_is_zero_or_false() -> None:
    grad_cam = method_pb2.GradCam(relu=False, interpolation=method_pb2.INTERPOLATION_NEAREST)
    lime = method_pb2.Lime(
        segmentation=method_pb2.Segmentation(grid=method_pb2.GridSegmentation(rows=3)),
        baseline=method_pb2.Baseline(color=method_pb2.ColorBaseline(red=0.5)),
    )
    request = valid_request()
    request.target.class_index = 0
    request.seed = 7
    for message in (grad_cam, lime, request):
        parameters.resolve(message)
    assert grad_cam.relu is False
    assert grad_cam.interpolation == method_pb2.INTERPOLATION_NEAREST
    assert lime.segmentation.WhichOneof("segmentation") == "grid"
    assert (lime.segmentation.grid.rows, lime.segmentation.grid.columns) == (3, 7)
    assert lime.baseline.color.red == 0.5
    assert lime.baseline.color.HasField("green") and lime.baseline.color.green == 0
    assert request.target.WhichOneof("target") == "class_index"
    assert request.seed == 7


def test_an_absent_part_without_a_default_stays_absent() -> None:
    saliency, partition = method_pb2.Saliency(), method_pb2.PartitionShap()
    parameters.resolve(saliency)
    parameters.resolve(partition)
    assert not saliency.HasField("noise_tunnel")
    assert not partition.HasField("segmentation")


def test_a_part_that_is_given_is_resolved_within() -> None:
    saliency = method_pb2.Saliency(noise_tunnel=method_pb2.NoiseTunnel())
    parameters.resolve(saliency)
    assert saliency.noise_tunnel.type == method_pb2.NoiseTunnel.TYPE_SMOOTHGRAD
    assert saliency.noise_tunnel.n_samples == 16


def test_resolving_twice_changes_nothing() -> None:
    request = valid_request()
    request.methods.add().kernel_shap.SetInParent()
    parameters.resolve(request)
    once = request.SerializeToString(deterministic=True)
    parameters.resolve(request)
    assert request.SerializeToString(deterministic=True) == once


@pytest.mark.parametrize("name", parameters.method_names())
def test_every_method_with_its_defaults_breaks_no_rule(name: str) -> None:
    method = method_pb2.Method()
    getattr(method, name).SetInParent()
    parameters.resolve(method)
    assert paths(method) == {}
    assert method.WhichOneof("method") == name


def test_a_valid_request_has_no_violations() -> None:
    assert paths(valid_request()) == {}


def test_a_violation_names_the_path_the_range_and_the_value() -> None:
    request = valid_request()
    request.methods.add().saliency.noise_tunnel.n_samples = 1
    request.methods.add().lime.n_samples = 5
    assert paths(request) == {
        "methods[1].saliency.noise_tunnel.n_samples": "must be from 2 to 1000, not 1",
        "methods[2].lime.n_samples": "must be from 10 to 100000 evaluations, not 5",
    }


def test_an_exclusive_minimum_is_refused_and_what_lies_above_it_taken() -> None:
    method = method_pb2.Method(lrp=method_pb2.Lrp(epsilon=0))
    assert paths(method) == {"lrp.epsilon": "must be above 0 to 1, not 0"}
    method.lrp.epsilon = 1e-12
    assert paths(method) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    method = method_pb2.Method(lime=method_pb2.Lime(kernel_width=value))
    assert list(paths(method)) == ["lime.kernel_width"]


def test_missing_lists_and_names_are_refused() -> None:
    assert paths(explanation_pb2.ExplainRequest()) == {
        "model": "must be from 1 to 128 characters, not 0",
        "inputs": "must be from 1 to 256 elements, not 0",
        "methods": "must be from 1 to 32 elements, not 0",
    }


def test_too_many_methods_are_refused() -> None:
    request = valid_request()
    for _ in range(99):
        request.methods.add().saliency.SetInParent()
    assert paths(request) == {"methods": "must be from 1 to 32 elements, not 100"}


@pytest.mark.parametrize(
    ("name", "duration", "is_allowed"),
    [
        ("timeout", Duration(seconds=0), False),
        ("timeout", Duration(nanos=1), True),
        ("timeout", Duration(seconds=86400), True),
        ("timeout", Duration(seconds=86400, nanos=1000), False),
        ("wait", Duration(seconds=-1), False),
        ("wait", Duration(seconds=0), True),
        ("ttl", Duration(nanos=999_999_999), False),
        ("ttl", Duration(seconds=1), True),
    ],
)
def test_durations_are_measured_in_seconds(name: str, duration: Duration, is_allowed: bool) -> None:
    request = valid_request()
    getattr(request, name).CopyFrom(duration)
    assert list(paths(request)) == ([] if is_allowed else [name])


def test_what_is_a_nanosecond_too_long_is_not_told_as_the_limit() -> None:
    request = explanation_pb2.ExplainRequest(timeout=Duration(seconds=86400, nanos=1))
    assert paths(request)["timeout"].endswith("to 86400 seconds, not 86400.000000001")


def test_members_of_a_oneof_are_measured_only_when_chosen() -> None:
    request = valid_request()
    request.target.top_k = 0
    assert paths(request) == {"target.top_k": "must be from 1 to 100, not 0"}
    request.target.label = ""
    assert paths(request) == {"target.label": "must be from 1 to 256 characters, not 0"}
    request.target.class_index = 0
    assert paths(request) == {}
    request.inputs[0].image = b""
    assert list(paths(request)) == ["inputs[0].image"]


def test_an_enum_number_without_a_name_is_refused() -> None:
    method = method_pb2.Method(grad_cam=method_pb2.GradCam())
    method.grad_cam.interpolation = 9  # type: ignore[assignment]
    assert paths(method) == {
        "grad_cam.interpolation": ("9 is not one of INTERPOLATION_BILINEAR, INTERPOLATION_NEAREST")
    }


def test_tensors_are_not_looked_into() -> None:
    request = valid_request()
    request.inputs.add().tensor.CopyFrom(tensor_pb2.Tensor(shape=[-1]))
    assert paths(request) == {}


@pytest.mark.parametrize(
    ("message", "name", "words"),
    [
        (method_pb2.Lime, "n_samples", "from 10 to 100000 evaluations"),
        (method_pb2.Lime, "kernel_width", "above 0 to 100"),
        (method_pb2.Method, "key", "up to 64 characters"),
        (explanation_pb2.ExplainRequest, "methods", "from 1 to 32 elements"),
        (explanation_pb2.ExplainRequest, "wait", "from 0 to 600 seconds"),
        (explanation_pb2.ExplainRequest, "validate_only", ""),
    ],
)
def test_what_is_allowed_is_told_in_words(message: type, name: str, words: str) -> None:
    assert parameters.allowed(field(message, name)) == words


def test_defaults_are_given_as_values() -> None:
    assert parameters.default(field(method_pb2.Lime, "n_samples")) == 1000
    assert parameters.default(field(method_pb2.Lime, "baseline")) == "zero"
    assert parameters.default(field(method_pb2.GradCam, "relu")) is True
    assert parameters.default(field(method_pb2.GradCam, "interpolation")) == 1
    assert parameters.default(field(method_pb2.GradCam, "layer")) is None
    assert parameters.default(field(explanation_pb2.ExplainRequest, "ttl")) == 3600
