"""How many evaluations of its model a request takes, before any of them is made."""

from collections.abc import Sequence
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from expound.tensors import from_tensor
from expound.v1 import explanation_pb2, method_pb2
from expound.v1.model_service_pb2 import Model

# What workers take where a request leaves the windows of occlusion open.
_WINDOWS_ALONG_A_SIDE = 8
_SAMPLED = (
    method_pb2.Lime,
    method_pb2.KernelShap,
    method_pb2.PartitionShap,
    method_pb2.PermutationShap,
    method_pb2.Rise,
)


class Evaluations(NamedTuple):
    """About how many forward passes of one image a request takes at most.

    A method that stops when it is sure enough counts with all that it may take, and one of the
    gradient methods once for each target.

    Attributes:
        total: of all methods, and of the predictions.
        gradient: of the gradient methods alone.
    """

    total: int
    gradient: int


def evaluations(request: explanation_pb2.ExplainRequest, model: Model) -> Evaluations:
    """Estimates them for a resolved and checked request."""
    targets = request.target.top_k if request.target.HasField("top_k") else 1
    of_jobs = of_gradients = 0
    for method in request.methods:
        parameters = getattr(method, method.WhichOneof("method") or "")
        of_job = _of_job(parameters, model)
        if of_job is None:
            of_gradients += targets * _of_gradients(parameters)
        else:
            of_jobs += of_job
    count = len(request.inputs)
    return Evaluations(count * (1 + of_jobs + of_gradients), count * of_gradients)


def _of_job(parameters: object, model: Model) -> int | None:
    """Of a perturbation method; None for any other."""
    match parameters:
        case method_pb2.Occlusion():
            return _of_occlusion(parameters, model.input_shape[1:])
        case method_pb2.FeatureAblation():
            return 1 + _segments(parameters.segmentation, prod(model.input_shape[1:]))
        case method_pb2.ScoreCam():
            return 2 + _channels(parameters.layer, model)
    return int(parameters.n_samples) if isinstance(parameters, _SAMPLED) else None


def _of_gradients(parameters: Any) -> int:
    """Of a gradient method, for one target."""
    if isinstance(parameters, method_pb2.GradientShap):
        return int(parameters.n_samples)
    noisy = parameters.HasField("noise_tunnel")
    return _of_one_copy(parameters) * (parameters.noise_tunnel.n_samples if noisy else 1)


def _of_one_copy(parameters: object) -> int:
    match parameters:
        case method_pb2.IntegratedGradients() if parameters.HasField("max_delta"):
            # The steps are doubled until they are enough.
            return 2 * parameters.max_steps
        case method_pb2.IntegratedGradients() | method_pb2.LayerConductance():
            return 1 + parameters.n_steps
        case method_pb2.DeepLiftShap() | method_pb2.DeepShap():
            return 2 * max(len(parameters.baselines), 1)
        case method_pb2.DeepLift() | method_pb2.GuidedGradCam():
            return 2
    return 1


def _of_occlusion(parameters: method_pb2.Occlusion, sides: Sequence[int]) -> int:
    windows = 1
    for name, length in zip(("height", "width"), sides, strict=True):
        window = getattr(parameters, f"window_{name}") or max(1, length // _WINDOWS_ALONG_A_SIDE)
        stride = getattr(parameters, f"stride_{name}") or max(1, window // 2)
        windows *= max(ceil((length - window) / stride), 0) + 1
    return 1 + windows


def _segments(segmentation: method_pb2.Segmentation, pixels: int) -> int:
    """How many segments there are at most, as far as that is known without the image."""
    match segmentation.WhichOneof("segmentation"):
        case "grid":
            return segmentation.grid.rows * segmentation.grid.columns
        case "slic":
            return segmentation.slic.n_segments
        case "labels":
            return len(np.unique(from_tensor(segmentation.labels)))
        case "felzenszwalb":
            return ceil(pixels / segmentation.felzenszwalb.min_size)
    return ceil(pixels / max(segmentation.quickshift.kernel_size, 1) ** 2)


def _channels(layer: str, model: Model) -> int:
    for known in model.layers:
        if known.name == layer or (not layer and known.default):
            return known.output_shape[0]
    return 0
