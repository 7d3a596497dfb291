"""How many evaluations of its model a request takes, before any of them is made."""

from collections.abc import Callable
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from expound.tensors import from_tensor
from expound.v1 import explanation_pb2, method_pb2
from expound.v1.model_service_pb2 import Model

# What workers take where a request leaves the windows of occlusion open.
_WINDOWS_ALONG_A_SIDE = 8


class Evaluations(NamedTuple):
    """About how many forward passes of one image a request takes at most.

    A method that may stop early counts with all that it may take, and a gradient method once for
    each target.

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
        name = method.WhichOneof("method") or ""
        parameters = getattr(method, name)
        if name in _OF_JOBS:
            of_jobs += _OF_JOBS[name](parameters, model)
        else:
            of_gradients += targets * _OF_GRADIENTS[name](parameters) * _copies(parameters)
    count = len(request.inputs)
    return Evaluations(count * (1 + of_jobs + of_gradients), count * of_gradients)


def _copies(parameters: Any) -> int:
    """How many noisy copies of an input a gradient method runs on."""
    noisy = parameters.HasField("noise_tunnel")
    return int(parameters.noise_tunnel.n_samples) if noisy else 1


def _of_integrated_gradients(parameters: method_pb2.IntegratedGradients) -> int:
    if parameters.HasField("max_delta"):
        # The steps are doubled until they are enough.
        return 2 * parameters.max_steps
    return 1 + parameters.n_steps


def _of_gradient_shap(parameters: method_pb2.GradientShap) -> int:
    # Noise makes inputs whose scores are to be found.
    passes = 2 if parameters.stdev else 1
    return passes * parameters.n_samples + max(len(parameters.baselines), 1)


def _of_baselines(parameters: method_pb2.DeepLiftShap | method_pb2.DeepShap) -> int:
    return 2 * max(len(parameters.baselines), 1)


_OF_GRADIENTS: dict[str, Callable[[Any], int]] = {
    "saliency": lambda _: 1,
    "input_x_gradient": lambda _: 1,
    "integrated_gradients": _of_integrated_gradients,
    "gradient_shap": _of_gradient_shap,
    "deep_lift": lambda _: 2,
    "deep_lift_shap": _of_baselines,
    "deep_shap": _of_baselines,
    "guided_backprop": lambda _: 1,
    "deconvolution": lambda _: 1,
    "grad_cam": lambda _: 1,
    "guided_grad_cam": lambda _: 2,
    "layer_activation": lambda _: 1,
    "layer_conductance": lambda parameters: 2 + parameters.n_steps,
    "grad_cam_plus_plus": lambda _: 1,
    "layer_cam": lambda _: 1,
    "eigen_cam": lambda _: 1,
    "lrp": lambda _: 1,
}
"""Of the gradient methods, for one target and one copy of an input."""


def _of_samples(parameters: Any, _: Model) -> int:
    return int(parameters.n_samples)


def window(parameters: method_pb2.Occlusion, side: str, length: int) -> int:
    """Pixels that a window of occlusion has along a side of so many, "height" or "width"."""
    return getattr(parameters, f"window_{side}") or max(1, length // _WINDOWS_ALONG_A_SIDE)


def stride(parameters: method_pb2.Occlusion, side: str, length: int) -> int:
    """Pixels from one of those windows to the next."""
    return getattr(parameters, f"stride_{side}") or max(1, window(parameters, side, length) // 2)


def _of_occlusion(parameters: method_pb2.Occlusion, model: Model) -> int:
    windows = 1
    for name, length in zip(("height", "width"), model.input_shape[1:], strict=True):
        rest = length - window(parameters, name, length)
        windows *= ceil(rest / stride(parameters, name, length)) + 1
    return 1 + windows


def _of_feature_ablation(parameters: method_pb2.FeatureAblation, model: Model) -> int:
    return 1 + _segments(parameters.segmentation, prod(model.input_shape[1:]))


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


def _of_score_cam(parameters: method_pb2.ScoreCam, model: Model) -> int:
    return 2 + _channels(parameters.layer, model)


def _channels(layer: str, model: Model) -> int:
    for known in model.layers:
        if known.name == layer or (not layer and known.default):
            return known.output_shape[0]
    return 0


_OF_JOBS: dict[str, Callable[[Any, Model], int]] = {
    "occlusion": _of_occlusion,
    "feature_ablation": _of_feature_ablation,
    "lime": _of_samples,
    "kernel_shap": _of_samples,
    "partition_shap": _of_samples,
    "permutation_shap": _of_samples,
    "rise": _of_samples,
    "score_cam": _of_score_cam,
}
"""Of the perturbation methods, for all targets."""
