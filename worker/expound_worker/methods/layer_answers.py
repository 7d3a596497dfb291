"""Answers of methods that combine the maps of one layer to a coarse map."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from expound_worker.methods.layer_maps import (
    activations,
    activations_and_gradients,
    choose_layer,
    enlarge,
    input_size,
    to_array,
)
from expound_worker.methods.method import LOGIT, Answer, Batch
from expound_worker.models.model import Layer, Model


def explain_by_activations(
    model: Model, batch: Batch, parameters: Any, combine: Callable[[Tensor], Tensor]
) -> list[Answer]:
    """Explains a batch by the activations of a layer alone.

    Args:
        model: the model.
        batch: inputs and their targets.
        parameters: message of the method, with `layer` and `interpolation`.
        combine: makes coarse maps (N, h, w) of activations (N, channels, h, w).
    """
    layer, reason = choose_layer(model, parameters.layer)
    coarse = combine(activations(model, layer, batch.inputs))
    maps = enlarge(coarse, input_size(model), parameters.interpolation)
    return [
        Answer(
            values,
            LOGIT,
            logit,
            evaluations=1,
            layer=layer.name,
            layer_reason=reason,
            warnings=[] if values.any() else [_nothing(layer)],
        )
        for values, logit in zip(to_array(maps), batch.logits, strict=True)
    ]


def explain_by_gradients(
    model: Model, batch: Batch, parameters: Any, combine: Callable[[Tensor, Tensor], Tensor]
) -> list[Answer]:
    """Explains a batch by the activations of a layer and the gradients of the scores at it.

    Args:
        model: the model.
        batch: inputs and their targets.
        parameters: message of the method, with `layer` and `interpolation`.
        combine: makes coarse maps (N, h, w) of activations and gradients (N, channels, h, w).
    """
    layer, reason = choose_layer(model, parameters.layer)
    activation, gradient = activations_and_gradients(model, layer, batch.inputs, batch.targets)
    maps = enlarge(combine(activation, gradient), input_size(model), parameters.interpolation)
    dependent = gradient.flatten(1).any(dim=1).tolist()
    return [
        Answer(
            values,
            LOGIT,
            logit,
            evaluations=1,
            layer=layer.name,
            layer_reason=reason,
            warnings=[] if depends else [_no_gradient(layer)],
        )
        for values, logit, depends in zip(to_array(maps), batch.logits, dependent, strict=True)
    ]


def _nothing(layer: Layer) -> str:
    return (
        f"the maps of layer {layer.name!r} are zero on this input, or cancel out at every position "
        "as those of a normalisation do; use another layer"
    )


def _no_gradient(layer: Layer) -> str:
    return (
        f"the score has no gradient at the positions of layer {layer.name!r} on this input: it "
        "does not depend on them, or only through parts that are saturated; use another layer"
    )
