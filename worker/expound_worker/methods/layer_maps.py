"""A layer as maps: which one, its activations, and the gradients of scores by them."""

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.method import MethodError
from expound_worker.models.hooks import NoteInputs, watching
from expound_worker.models.model import Layer, Model

_MODES = {
    method_pb2.INTERPOLATION_BILINEAR: "bilinear",
    method_pb2.INTERPOLATION_NEAREST: "nearest",
}
_MANY_NAMES = 20


def refusal_without_layers(model: Model) -> str | None:
    """Why layer methods cannot run on the model; None if they can."""
    if model.layers:
        return None
    return (
        "no layer of the model has a spatial output, (N, channels, h, w), (N, h, w, channels) or "
        "(N, tokens, channels); use integrated_gradients or kernel_shap instead"
    )


def choose_layer(model: Model, name: str) -> tuple[Layer, str]:
    """The layer of that name, or the default one if it is empty, and why it was chosen.

    Raises:
        MethodError: the model has no such layer with a map.
    """
    for layer in model.layers:
        if layer.name == name:
            return layer, "named in the request"
        if not name and layer.default_reason:
            return layer, layer.default_reason
    raise MethodError(Reason.INVALID_FIELD, _unknown(model, name), field="layer", layer=name)


def _unknown(model: Model, name: str) -> str:
    names = [layer.name for layer in model.layers]
    runs = [layer.name for layer in model.layers if layer.module == name]
    if runs:
        return f"layer {name!r} runs {len(runs)} times; name one of its runs: {', '.join(runs)}"
    if name in dict(model.module.named_modules()):
        problem = f"the output of layer {name!r} is no map of the image with more than one cell"
    else:
        problem = f"there is no layer {name!r}"
    if len(names) <= _MANY_NAMES:
        return f"{problem}; those with a map are {', '.join(names)}"
    near = difflib.get_close_matches(name, names, cutoff=0.0)
    return f"{problem}; GetModel lists the {len(names)} with a map, such as {', '.join(near)}"


@torch.no_grad()
def activations(model: Model, layer: Layer, inputs: Tensor) -> Tensor:
    """The output (N, channels, h, w) of a layer for inputs (N, C, H, W).

    Raises:
        MethodError: the layer does not run exactly once on these inputs.
    """
    outputs: list[Tensor] = []

    def keep(output: Tensor) -> None:
        outputs.append(output.clone())  # what follows may change it in place

    with _output_of(model, layer, keep):
        model.module(inputs)
    return layer.layout.to_maps(outputs[0])


def activations_and_gradients(
    model: Model, layer: Layer, inputs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """The output of a layer, and the gradient of each target's logit by it.

    The network is cut open behind the layer, so that nothing before it is differentiated.

    Args:
        model: the model.
        layer: one of its layers.
        inputs: (N, C, H, W).
        targets: (N,) class of each input.

    Returns:
        Two (N, channels, h, w). The gradient is zero where the score does not depend on the layer.

    Raises:
        MethodError: the layer does not run exactly once on these inputs.
    """
    outputs: list[Tensor] = []
    versions: list[tuple[Tensor, int]] = []

    def note_versions(given: tuple[Any, ...]) -> None:
        versions[:] = [(value, value._version) for value in given if isinstance(value, Tensor)]

    def cut_open(output: Tensor) -> Tensor:
        outputs.append(output.detach().clone().requires_grad_())
        if any(value is output and value._version != version for value, version in versions):
            return output.copy_(outputs[0])  # in place: what the layer was given is read as this
        return outputs[0].clone()  # what follows may change it in place

    with torch.enable_grad(), _output_of(model, layer, cut_open, note_versions):
        scores = model.module(inputs).gather(1, targets[:, None])
    (output,) = outputs
    gradient = None
    if scores.requires_grad:
        (gradient,) = torch.autograd.grad(scores.sum(), output, allow_unused=True)
    gradient = torch.zeros_like(output) if gradient is None else gradient
    return layer.layout.to_maps(output.detach()), layer.layout.to_maps(gradient)


@contextmanager
def _output_of(
    model: Model,
    layer: Layer,
    note: Callable[[Tensor], Tensor | None],
    note_inputs: NoteInputs | None = None,
) -> Iterator[None]:
    """Calls `note` with the output of the layer's run; raises MethodError if that is not found."""

    def note_run(_name: str, run: int, output: Tensor) -> Tensor | None:
        return note(output) if run == layer.run else None

    with watching(model.module, [layer.module], note_run, note_inputs) as runs:
        yield
    if runs[layer.module] != layer.runs:
        raise MethodError(
            Reason.METHOD_UNSUPPORTED,
            f"layer {layer.module!r} runs {runs[layer.module]} times on this input, but "
            f"{layer.runs} on others: it has no map that means the same for all; name another",
            layer=layer.name,
        )


def enlarge(
    maps: Tensor, size: tuple[int, int], interpolation: method_pb2.Interpolation.ValueType
) -> Tensor:
    """Maps (N, h, w) enlarged to (N, H, W), as Captum's `LayerAttribution.interpolate` does.

    Along a side where they have more cells than pixels, each pixel is the mean of its cells.
    """
    height, width = (min(sides) for sides in zip(maps.shape[1:], size, strict=True))
    averaged = functional.adaptive_avg_pool2d(maps[:, None], (height, width))
    return functional.interpolate(averaged, size, mode=_MODES[interpolation])[:, 0]


def input_size(model: Model) -> tuple[int, int]:
    """(H, W) of the model's inputs."""
    return model.input_shape[1], model.input_shape[2]


def to_array(maps: Tensor) -> NDArray[np.float32]:
    """The maps as float32 on the host."""
    array: NDArray[np.float32] = maps.float().cpu().numpy()
    return array
