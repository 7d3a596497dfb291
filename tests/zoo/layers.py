"""The maps of a layer and the gradients at it, by another way: something is added to its output."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expound_worker.methods.method import Answer, Batch
from expound_worker.models.model import Layer, Model
from tests.numeric.cuts import enlarged

Literal = Callable[[Tensor, Tensor], NDArray[np.float64]]
"""Makes the coarse map (h, w) of maps and gradients (channels, h, w)."""


def literal_map(
    model: Model, batch: Batch, answer: Answer, literal: Literal
) -> NDArray[np.float64]:
    """(H, W) the map of an answer at its layer, as slow code makes it."""
    coarse = literal(*maps_and_gradients(model, batch, answer.layer))
    return to_size(coarse, model)


def to_size(coarse: NDArray[np.float64], model: Model) -> NDArray[np.float64]:
    """A coarse map (h, w) enlarged to the height and width of the model's inputs."""
    _, height, width = model.input_shape
    found: NDArray[np.float64] = enlarged(torch.from_numpy(coarse)[None], (height, width))[
        0
    ].numpy()
    return found


def maps_and_gradients(model: Model, batch: Batch, name: str) -> tuple[Tensor, Tensor]:
    """(channels, h, w) output of a layer for one input, and the gradient of its score by it."""
    layer = _named(model, name)
    nudges: list[Tensor] = []

    def nudge(output: Tensor) -> Tensor:
        nudges.append(torch.zeros_like(output, requires_grad=True))
        return output + nudges[0]

    output, logits = _run(model, batch, layer, nudge)
    (gradient,) = torch.autograd.grad(logits.gather(1, batch.targets[:, None]).sum(), nudges[0])
    return layer.layout.to_maps(output)[0], layer.layout.to_maps(gradient)[0]


def maps_of(model: Model, batch: Batch, name: str) -> Tensor:
    """(channels, h, w) output of a layer for one input; the score need not depend on it."""
    layer = _named(model, name)
    output, _ = _run(model, batch, layer, lambda output: output)
    return layer.layout.to_maps(output)[0]


def _named(model: Model, name: str) -> Layer:
    return next(layer for layer in model.layers if layer.name == name)


def _run(
    model: Model, batch: Batch, layer: Layer, replaced: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The output of a layer, and the logits when that is replaced."""
    outputs: list[Tensor] = []
    runs = 0

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
        nonlocal runs
        runs += 1
        if runs != layer.run:
            return None
        outputs.append(output.detach().clone())
        return replaced(output)

    handle = model.module.get_submodule(layer.module).register_forward_hook(hook)
    try:
        logits: Tensor = model.module(batch.inputs.clone())
    finally:
        handle.remove()
    return outputs[0], logits
