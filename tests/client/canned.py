"""A canned explanation of a made-up photo, and its events: what the fake service answers."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from expound.pictures import to_picture
from expound.reasons import Reason, status
from expound.tensors import from_tensor, to_tensor
from expound.v1 import explanation_pb2, model_service_pb2

NAME = "explanations/" + "0123456789abcdef" * 2
CLASSES = (("tabby", 0.6), ("tiger cat", 0.3), ("lynx", 0.1))
SIZE = 8
NO_LAYER = "no layer with a spatial output, (N, channels, h, w); use kernel_shap instead"
FAILURE = status(Reason.TOO_FEW_SEGMENTS, "only 1 segment was found")

SEGMENTS = np.arange(SIZE * SIZE, dtype=np.int32).reshape(SIZE, SIZE) // 16
WEIGHTS = np.array([0.5, -0.25, 0.125, 0.0])
STANDARD_ERRORS = np.array([0.02, 0.01, 0.02, 0.01])


def gradient() -> NDArray[np.float32]:
    """The map of the canned saliency: (3, 8, 8)."""
    return np.random.default_rng(0).normal(size=(3, SIZE, SIZE)).astype(np.float32)


def photo() -> Image.Image:
    """A photo of 24x12 pixels: red, green and blue thirds."""
    pixels = np.zeros((12, 24, 3), np.uint8)
    for channel in range(3):
        pixels[:, 8 * channel : 8 * channel + 8, channel] = 255
    return Image.fromarray(pixels)


def png() -> bytes:
    """The photo as a PNG file."""
    buffer = io.BytesIO()
    photo().save(buffer, "PNG")
    return buffer.getvalue()


def card() -> model_service_pb2.Model:
    """The card of the model that made it."""
    return model_service_pb2.Model(
        name="models/small",
        version="1",
        digest="ab" * 32,
        pool="default",
        input_shape=[3, SIZE, SIZE],
        class_count=3,
        labels=[label for label, _ in CLASSES],
        layers=[model_service_pb2.Layer(name="conv", kind="Conv2d", output_shape=[4, 4, 4])],
        capabilities=[
            model_service_pb2.Capability(
                method="saliency", support=model_service_pb2.Capability.SUPPORT_SUPPORTED
            ),
            model_service_pb2.Capability(
                method="deep_lift",
                support=model_service_pb2.Capability.SUPPORT_APPROXIMATE,
                reason="not exact",
                error=0.0123,
            ),
            model_service_pb2.Capability(
                method="grad_cam",
                support=model_service_pb2.Capability.SUPPORT_UNSUPPORTED,
                reason=NO_LAYER,
            ),
            model_service_pb2.Capability(
                method="layer_cam",
                support=model_service_pb2.Capability.SUPPORT_UNSUPPORTED,
                reason=NO_LAYER,
            ),
            model_service_pb2.Capability(method="lrp"),
        ],
        preprocessing="in words",
        preprocessing_steps=model_service_pb2.Preprocessing(
            resize=SIZE, interpolation="nearest", mean=[0.5] * 3, std=[0.25] * 3
        ),
        device="cpu",
        dtype="float32",
        parameter_count=1234,
    )


def score(index: int) -> explanation_pb2.ClassScore:
    """One class of the canned prediction."""
    label, probability = CLASSES[index]
    return explanation_pb2.ClassScore(
        index=index, label=label, probability=probability, logit=2.0 - index
    )


def prediction() -> explanation_pb2.Prediction:
    """The canned prediction."""
    return explanation_pb2.Prediction(classes=[score(index) for index in range(len(CLASSES))])


def attribution(method: str, *, tensors: bool = True) -> explanation_pb2.Attribution:
    """The canned map of saliency or lime."""
    made = explanation_pb2.Attribution(target=score(0), output=0.6, evaluations=1)
    if method == "lime":
        made.score = explanation_pb2.SCORE_PROBABILITY
        made.standard_error = 0.02
        made.evaluations = 100
        made.warnings.append("a warning & <b>more</b>")
        if tensors:
            made.values.CopyFrom(to_tensor(WEIGHTS[SEGMENTS].astype(np.float32)))
            made.segments.CopyFrom(to_tensor(SEGMENTS))
            made.weights.CopyFrom(to_tensor(WEIGHTS))
            made.standard_errors.CopyFrom(to_tensor(STANDARD_ERRORS))
    else:
        made.score = explanation_pb2.SCORE_LOGIT
        made.convergence_delta = 0.001
        made.completeness_error = 0.002
        made.n_steps = 50
        made.baseline_output = 0.1
        if tensors:
            made.values.CopyFrom(to_tensor(gradient()))
    return made


def result(
    key: str, method: str, *, tensors: bool = True, failed: bool = False
) -> explanation_pb2.MethodResult:
    """The canned result of one method."""
    made = explanation_pb2.MethodResult(key=key, method=method, attempt=1)
    made.start_time.FromMilliseconds(1_000_000)
    made.end_time.FromMilliseconds(1_000_500)
    if failed:
        made.state = explanation_pb2.STATE_FAILED
        made.error.CopyFrom(FAILURE)
    else:
        made.state = explanation_pb2.STATE_SUCCEEDED
        made.attributions.append(attribution(method, tensors=tensors))
        made.progress.evaluations_done = made.attributions[0].evaluations
        made.progress.evaluations_total = made.attributions[0].evaluations
    return made


def as_pictures(made: explanation_pb2.MethodResult) -> None:
    """Sends the maps of a result as pictures."""
    for each in made.attributions:
        values = from_tensor(each.values).astype(np.float32)
        each.picture, each.picture_scale = to_picture(values.reshape(-1, SIZE, SIZE).sum(axis=0))
        each.ClearField("values")


def partial(step: int, *, with_segments: bool) -> explanation_pb2.Attribution:
    """LIME's map as it stood after a step."""
    made = explanation_pb2.Attribution(
        target=score(0),
        weights=to_tensor(WEIGHTS * step),
        standard_errors=to_tensor(STANDARD_ERRORS / step),
        evaluations=25 * step,
    )
    made.score = explanation_pb2.SCORE_PROBABILITY
    if with_segments:
        made.segments.CopyFrom(to_tensor(SEGMENTS))
    return made
