"""Requests that are wrong: each is refused with its code, its reason and the path of the field."""

from collections.abc import Callable
from dataclasses import replace

import grpc
import numpy as np
import pytest

from expound import records
from expound.reasons import Reason
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2, method_pb2, tensor_pb2
from expound.v1.explanation_pb2 import ExplainRequest
from expound_server.settings import Settings
from tests.server.calls import explain_request, refusal
from tests.server.conftest import Server, running
from tests.server.hand_worker import SUPPORTED, HandWorker, model

Change = Callable[[ExplainRequest], object]


def _raw(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Change:
    return lambda request: request.inputs[0].tensor.CopyFrom(to_tensor(array))


def _nan(request: ExplainRequest) -> None:
    array = np.zeros((3, 8, 6), np.float32)
    array[1, 2, 3] = np.nan
    request.inputs[0].tensor.CopyFrom(to_tensor(array))


def _infinite_baseline(request: ExplainRequest) -> None:
    array = np.full((3, 8, 6), np.inf, np.float64)
    request.methods[0].integrated_gradients.baseline.tensor.CopyFrom(to_tensor(array))


def _short_data(request: ExplainRequest) -> None:
    request.inputs[0].tensor.CopyFrom(to_tensor(np.zeros((3, 8, 6), np.float32)))
    request.inputs[0].tensor.data = b"1234"


def _class(index: int) -> Change:
    return lambda request: setattr(request.target, "class_index", index)


def _many_inputs(count: int) -> Change:
    def change(request: ExplainRequest) -> None:
        request.inputs.extend([explanation_pb2.Input(image=b"x")] * (count - 1))

    return change


def _many_methods(request: ExplainRequest) -> None:
    request.methods.extend([method_pb2.Method(saliency=method_pb2.Saliency())] * 99)


def _same_keys(request: ExplainRequest) -> None:
    request.methods[0].key = "same"
    request.methods.add(key="same").saliency.SetInParent()


def _windows(*sizes: tuple[int, int]) -> Change:
    def change(request: ExplainRequest) -> None:
        for method, (height, width) in zip(request.methods, sizes, strict=True):
            method.occlusion.window_height, method.occlusion.window_width = height, width

    return change


def _steps(given: int, default: int) -> Change:
    """Windows of a given height, and of the default one, which is 1, with longer steps."""

    def change(request: ExplainRequest) -> None:
        request.methods[0].occlusion.window_height = given
        for method, height in zip(request.methods, (given, default), strict=True):
            method.occlusion.stride_height = height + 1

    return change


def _noise_and_precision(request: ExplainRequest) -> None:
    request.methods[0].integrated_gradients.max_delta = 0.1
    request.methods[0].integrated_gradients.noise_tunnel.SetInParent()


# What is wrong, the methods of the request, how it is made wrong, and the fields to blame.
CASES: list[tuple[str, tuple[str, ...], Change, list[str]]] = [
    ("no model", (), lambda r: r.ClearField("model"), ["model"]),
    ("a long model name", (), lambda r: setattr(r, "model", "m" * 129), ["model"]),
    ("no inputs", (), lambda r: r.ClearField("inputs"), ["inputs"]),
    ("257 inputs", (), _many_inputs(257), ["inputs"]),
    ("no methods", (), lambda r: r.ClearField("methods"), ["methods"]),
    ("100 methods", (), _many_methods, ["methods"]),
    ("an input without content", (), lambda r: r.inputs.add(), ["inputs[1]"]),
    ("an empty image", (), lambda r: setattr(r.inputs[0], "image", b""), ["inputs[0].image"]),
    ("a method without a method", (), lambda r: r.methods.add(), ["methods[1]"]),
    (
        "NaN in a raw tensor",
        (),
        _nan,
        ["inputs[0].tensor.data"],
    ),
    (
        "a raw tensor of another shape",
        (),
        _raw(np.zeros((3, 8, 8), np.float32)),
        ["inputs[0].tensor.shape"],
    ),
    (
        "an image of four channels",
        (),
        _raw(np.zeros((8, 6, 4), np.uint8)),
        ["inputs[0].tensor.shape"],
    ),
    (
        "a raw tensor of another dtype",
        (),
        _raw(np.zeros((3, 8, 6), np.float64)),
        ["inputs[0].tensor.dtype"],
    ),
    (
        "a raw tensor without dtype",
        (),
        lambda r: r.inputs[0].tensor.SetInParent(),
        ["inputs[0].tensor.dtype"],
    ),
    ("a raw tensor with too few bytes", (), _short_data, ["inputs[0].tensor.data"]),
    (
        "a raw tensor of negative length",
        (),
        lambda r: r.inputs[0].tensor.CopyFrom(
            tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_UINT8, shape=[-1, 6])
        ),
        ["inputs[0].tensor.shape"],
    ),
    ("a key with a space", (), lambda r: setattr(r.methods[0], "key", "a b"), ["methods[0].key"]),
    ("a long key", (), lambda r: setattr(r.methods[0], "key", "k" * 65), ["methods[0].key"]),
    ("a key twice", (), _same_keys, ["methods[1].key"]),
    (
        "an unknown class",
        (),
        lambda r: setattr(r.target, "class_index", 4),
        ["target.class_index"],
    ),
    (
        "a negative class",
        (),
        lambda r: setattr(r.target, "class_index", -1),
        ["target.class_index"],
    ),
    ("no top classes", (), lambda r: setattr(r.target, "top_k", 0), ["target.top_k"]),
    (
        "too many top classes",
        (),
        lambda r: setattr(r.target, "top_k", 5),
        ["target.top_k"],
    ),
    ("an unknown label", (), lambda r: setattr(r.target, "label", "Cat"), ["target.label"]),
    ("an ambiguous label", (), lambda r: setattr(r.target, "label", "bird"), ["target.label"]),
    ("a negative seed", (), lambda r: setattr(r, "seed", -1), ["seed"]),
    ("a long request id", (), lambda r: setattr(r, "request_id", "r" * 129), ["request_id"]),
    ("a long wait", (), lambda r: r.wait.FromSeconds(601), ["wait"]),
    ("a negative wait", (), lambda r: r.wait.FromSeconds(-1), ["wait"]),
    ("no timeout", (), lambda r: r.timeout.SetInParent(), ["timeout"]),
    ("a short ttl", (), lambda r: r.ttl.FromMilliseconds(999), ["ttl"]),
    (
        "an output of integers",
        (),
        lambda r: setattr(r.output, "values_dtype", tensor_pb2.DATA_TYPE_INT32),
        ["output.values_dtype"],
    ),
    (
        "an output of no known form",
        (),
        lambda r: setattr(r.output, "channels", 7),
        ["output.channels"],
    ),
    (
        "a parameter out of range",
        ("saliency", "saliency", "lime"),
        lambda r: setattr(r.methods[2].lime, "n_samples", 9),
        ["methods[2].lime.n_samples"],
    ),
    (
        "a parameter that is no number",
        ("lime",),
        lambda r: setattr(r.methods[0].lime, "kernel_width", float("nan")),
        ["methods[0].lime.kernel_width"],
    ),
    (
        "a nested parameter out of range",
        ("lime",),
        lambda r: setattr(r.methods[0].lime.segmentation.slic, "n_segments", 3),
        ["methods[0].lime.segmentation.slic.n_segments"],
    ),
    (
        "a grid finer than the input",
        ("lime",),
        lambda r: r.methods[0].lime.segmentation.grid.SetInParent(),
        ["methods[0].lime.segmentation.grid.columns"],
    ),
    (
        "a segmentation that is none",
        ("partition_shap",),
        lambda r: r.methods[0].partition_shap.segmentation.SetInParent(),
        ["methods[0].partition_shap.segmentation"],
    ),
    (
        "labels of another shape",
        ("lime",),
        lambda r: r.methods[0].lime.segmentation.labels.CopyFrom(
            to_tensor(np.zeros((6, 8), np.int32))
        ),
        ["methods[0].lime.segmentation.labels.shape"],
    ),
    (
        "labels of another dtype",
        ("lime",),
        lambda r: r.methods[0].lime.segmentation.labels.CopyFrom(
            to_tensor(np.zeros((8, 6), np.uint8))
        ),
        ["methods[0].lime.segmentation.labels.dtype"],
    ),
    (
        "a baseline of another shape",
        ("integrated_gradients",),
        lambda r: r.methods[0].integrated_gradients.baseline.tensor.CopyFrom(
            to_tensor(np.zeros((3, 8, 8), np.float32))
        ),
        ["methods[0].integrated_gradients.baseline.tensor.shape"],
    ),
    (
        "a baseline of another dtype",
        ("integrated_gradients",),
        lambda r: r.methods[0].integrated_gradients.baseline.tensor.CopyFrom(
            to_tensor(np.zeros((3, 8, 6), np.uint8))
        ),
        ["methods[0].integrated_gradients.baseline.tensor.dtype"],
    ),
    (
        "an infinite baseline",
        ("integrated_gradients",),
        _infinite_baseline,
        ["methods[0].integrated_gradients.baseline.tensor.data"],
    ),
    (
        "segment means without segments",
        ("integrated_gradients",),
        lambda r: r.methods[0].integrated_gradients.baseline.segment_mean.SetInParent(),
        ["methods[0].integrated_gradients.baseline.segment_mean"],
    ),
    (
        "windows larger than the input",
        ("occlusion", "occlusion"),
        _windows((9, 6), (8, 7)),
        ["methods[0].occlusion.window_height", "methods[1].occlusion.window_width"],
    ),
    (
        "steps longer than the windows",
        ("occlusion", "occlusion"),
        _steps(2, 1),
        ["methods[0].occlusion.stride_height", "methods[1].occlusion.stride_height"],
    ),
    (
        "a precision of maps under noise",
        ("integrated_gradients",),
        _noise_and_precision,
        ["methods[0].integrated_gradients.max_delta"],
    ),
    (
        "fewer points at the most than at first",
        ("integrated_gradients",),
        lambda r: r.methods[0].integrated_gradients.MergeFrom(
            method_pb2.IntegratedGradients(max_delta=0.1, max_steps=49)
        ),
        ["methods[0].integrated_gradients.max_steps"],
    ),
    (
        "an unknown layer",
        ("grad_cam",),
        lambda r: setattr(r.methods[0].grad_cam, "layer", "classifier"),
        ["methods[0].grad_cam.layer"],
    ),
]


@pytest.mark.parametrize(
    ("methods", "change", "fields"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
async def test_a_wrong_field_is_named(
    server: Server,
    worker: HandWorker,
    methods: tuple[str, ...],
    change: Change,
    fields: list[str],
) -> None:
    request = explain_request(*methods)
    change(request)
    refused = await refusal(server.explanations.Explain(request))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, refused
    assert refused.reason == Reason.INVALID_FIELD
    assert list(refused.fields) == fields
    assert all(refused.fields.values())
    assert worker.tickets() == 0


async def test_the_largest_windows_and_steps_and_the_fewest_points_are_accepted(
    server: Server,
) -> None:
    request = explain_request("occlusion", "integrated_gradients", "integrated_gradients")
    request.methods[0].occlusion.MergeFrom(
        method_pb2.Occlusion(window_height=8, window_width=6, stride_height=8, stride_width=6)
    )
    request.methods[1].integrated_gradients.max_delta = 0.1
    request.methods[1].integrated_gradients.max_steps = 50
    request.methods[2].integrated_gradients.max_steps = 2  # without max_delta it does not matter
    assert (await server.explanations.Explain(request)).name


@pytest.mark.parametrize(
    ("layer", "nearest"),
    [
        ("layer4.1.conv3", "layer4.1.conv1, layer4.1.conv2, layer4.1"),
        ("blocks", "_blocks.0, _blocks.1, _blocks.2"),
        ("s.0", "features.0, _blocks.0, stem"),
    ],
)
async def test_an_unknown_layer_is_refused_with_the_nearest_ones(
    server: Server, worker: HandWorker, layer: str, nearest: str
) -> None:
    card = model("deep")
    names = ("stem", "_blocks.0", "_blocks.1", "_blocks.2", "layer4.0")
    for name in (*names, "layer4.1.conv1", "layer4.1.conv2", "layer4.1"):
        card.layers.add(name=name, kind="Conv2d", output_shape=[4, 4, 3])
    worker.publish(card)
    request = explain_request("grad_cam")
    request.model = "deep"
    request.methods[0].grad_cam.layer = layer
    refused = await refusal(server.explanations.Explain(request))
    assert refused.fields["methods[0].grad_cam.layer"].endswith(f"the nearest: {nearest}")


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("Tabby", "those with it in them: tabby, tabby cat, A tabby dog; GetModel lists all"),
        ("lion", "letter for letter; GetModel lists them"),
    ],
)
async def test_an_unknown_label_is_refused_with_those_that_hold_it(
    server: Server, worker: HandWorker, label: str, told: str
) -> None:
    card = model("cats")
    card.labels[:] = ["A tabby dog", "tabby", "tabby cat", "the tabby kitten"]
    worker.publish(card)
    request = explain_request("saliency")
    request.model = "cats"
    request.target.label = label
    refused = await refusal(server.explanations.Explain(request))
    assert refused.fields["target.label"].endswith(told)


async def test_an_image_of_floats_is_refused_with_how_to_send_it(server: Server) -> None:
    request = explain_request("saliency")
    request.inputs[0].tensor.CopyFrom(to_tensor(np.zeros((20, 30, 3), np.float32)))
    refused = await refusal(server.explanations.Explain(request))
    told = refused.fields["inputs[0].tensor.shape"]
    assert told.startswith("must be (3, 8, 6), not (20, 30, 3)")
    assert "preprocessed" in told and "UINT8" in told


async def test_everything_wrong_is_told_at_once(server: Server) -> None:
    request = explain_request("lime", "grad_cam")
    request.seed = -1
    request.target.class_index = 4
    request.methods[0].lime.n_samples = 9
    request.methods[1].grad_cam.layer = "classifier"
    request.inputs.add()
    refused = await refusal(server.explanations.Explain(request))
    assert set(refused.fields) == {
        "seed",
        "target.class_index",
        "methods[0].lime.n_samples",
        "methods[1].grad_cam.layer",
        "inputs[1]",
    }


async def test_a_great_many_violations_still_fit_into_an_answer(server: Server) -> None:
    request = explain_request(*["lime"] * 32)
    for method in request.methods:
        method.key = "no key " * 9
        method.lime.n_samples = 0
    refused = await refusal(server.explanations.Explain(request))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert len(refused.fields) == 20


async def test_a_million_inputs_are_refused_without_a_walk_through_them(server: Server) -> None:
    request = explain_request()
    request.inputs.extend([explanation_pb2.Input()] * 1_000_000)
    refused = await refusal(server.explanations.Explain(request, timeout=10))
    assert list(refused.fields) == ["inputs"]


async def test_an_unknown_model_is_refused_with_the_known_ones(server: Server) -> None:
    refused = await refusal(server.explanations.Explain(explain_request(model="models/huge")))
    assert refused.code == grpc.StatusCode.NOT_FOUND
    assert refused.reason == Reason.MODEL_NOT_FOUND
    assert refused.metadata == {"model": "huge"}
    assert "flat, slow, tiny" in refused.message


async def test_a_method_nobody_implements_is_refused_with_the_list_of_what_is(
    server: Server,
) -> None:
    refused = await refusal(server.explanations.Explain(explain_request("saliency", "lrp")))
    assert refused.code == grpc.StatusCode.UNIMPLEMENTED
    assert refused.reason == Reason.METHOD_NOT_IMPLEMENTED
    assert refused.metadata["method"] == "lrp"
    assert set(refused.metadata["implemented"].split(",")) == set(SUPPORTED)
    assert list(refused.fields) == ["methods[1].lrp"]


async def test_a_method_that_cannot_be_right_on_the_model_is_refused_with_the_reason(
    server: Server,
) -> None:
    request = explain_request("saliency", "lime", "grad_cam", model="flat")
    refused = await refusal(server.explanations.Explain(request))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION
    assert refused.reason == Reason.METHOD_UNSUPPORTED
    assert refused.metadata == {"method": "grad_cam", "model": "flat"}
    assert refused.fields == {"methods[2].grad_cam": "it has no layer with a spatial output"}


async def test_a_message_above_the_limit_is_refused(server: Server) -> None:
    request = explain_request()
    request.inputs[0].image = b"x" * (4 * 1024 * 1024)
    refused = await refusal(server.explanations.Explain(request))
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await server.explanations.Explain(explain_request())).name


async def test_a_request_that_leaves_no_room_for_its_answer_is_not_stored(
    settings: Settings, worker: HandWorker
) -> None:
    request = explain_request()
    del request.methods[:]
    for number in range(32):
        method = request.methods.add(key=f"m{number}").integrated_gradients
        method.baseline.tensor.CopyFrom(to_tensor(np.zeros((3, 8, 6))))
    async with running(replace(settings, max_message_bytes=2**16)) as server:
        refused = await refusal(server.explanations.Explain(request))
        assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.reason == Reason.MESSAGE_TOO_LARGE
        assert "without its inputs, above the limit of 32768" in refused.message
        assert not worker.redis.exists(records.index_key("default"))
        del request.methods[24:]
        assert (await server.explanations.Explain(request)).name


async def test_fields_that_nobody_knows_are_not_kept(server: Server, worker: HandWorker) -> None:
    unknown = explain_request().SerializeToString() + b"\xfa\x3e\x03abc"  # field 1007, 3 bytes
    request = explanation_pb2.ExplainRequest.FromString(unknown)
    assert request.SerializeToString() != explain_request().SerializeToString()
    answer = await server.explanations.Explain(request)
    assert b"abc" not in answer.SerializeToString()
    assert b"abc" not in worker.record(answer.name.removeprefix("explanations/"))[b"request"]


@pytest.mark.parametrize(
    ("methods", "change"),
    [
        ((), _raw(np.zeros((3, 8, 6), np.float32))),
        ((), _raw(np.zeros((100, 50, 3), np.uint8))),
        ((), _raw(np.zeros((100, 50), np.uint8))),
        (
            ("lime",),
            lambda r: r.methods[0].lime.baseline.segment_mean.SetInParent(),
        ),
        (
            ("lime",),
            lambda r: r.methods[0].lime.segmentation.labels.CopyFrom(
                to_tensor(np.zeros((8, 6), np.int32))
            ),
        ),
        (
            ("lime",),
            lambda r: r.methods[0].lime.segmentation.grid.MergeFrom(
                method_pb2.GridSegmentation(rows=8, columns=6)
            ),
        ),
        (("grad_cam",), lambda r: setattr(r.methods[0].grad_cam, "layer", "features.0")),
        ((), lambda r: setattr(r.target, "label", "cat")),
        ((), lambda r: setattr(r.target, "class_index", 3)),
        ((), lambda r: setattr(r.target, "top_k", 4)),
    ],
    ids=[
        "model input",
        "image",
        "grey image",
        "segment means",
        "label map",
        "a segment a pixel",
        "layer",
        "label",
        "class",
        "all classes",
    ],
)
async def test_what_is_right_is_taken(
    server: Server, methods: tuple[str, ...], change: Change
) -> None:
    request = explain_request(*methods)
    change(request)
    assert (await server.explanations.Explain(request)).name
