"""Layer activation: what a layer gives, averaged over its channels."""

import torch
from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.layer_answers import explain_by_activations
from expound_worker.methods.layer_maps import refusal_without_layers
from expound_worker.methods.method import Answer, Batch, GradientMethod
from expound_worker.models.model import Model

_ROUNDING = 4
"""A mean of so many units in the last place of the mean magnitude is rounding alone."""


class LayerActivation(GradientMethod):
    """``mean over k of A_k``: the activation maps of a layer (Captum's LayerActivation), averaged.

    It shows where a layer answers at all, not what it says of a class. Where the channels cancel
    out to rounding, as those of a LayerNorm without learned scales do everywhere, the mean is 0.

    Values (H, W): the coarse map, enlarged; the same for every target. They do not add up to
    anything. Needs a layer whose output is a map, and no gradients. Cost: one forward pass.
    """

    name = "layer_activation"

    def refusal(self, model: Model) -> str | None:
        """Needs a layer whose output is a map."""
        return refusal_without_layers(model)

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.LayerActivation, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (H, W). See `GradientMethod`."""
        return explain_by_activations(model, batch, parameters, _mean)


def _mean(activations: Tensor) -> Tensor:
    mean = activations.mean(dim=1)
    rounding = _ROUNDING * torch.finfo(mean.dtype).eps * activations.abs().mean(dim=1)
    return torch.where(mean.abs() > rounding, mean, 0)
