"""Grad-CAM++: Grad-CAM whose weights are made of the positive gradients."""

from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.layer_answers import explain_by_gradients
from expound_worker.methods.layer_maps import refusal_without_layers
from expound_worker.methods.method import Answer, Batch, GradientMethod
from expound_worker.models.model import Model


class GradCamPlusPlus(GradientMethod):
    """Chattopadhay et al., 2018: ``ReLU(sum over k of w_k A_k)``.

    ``w_k = sum over positions of a ReLU(g)`` with ``g = df/dA_k`` and the coefficients
    ``a = g^2 / (2 g^2 + g^3 sum(A_k))``, that is ``1 / (2 + g sum(A_k))``. ``f`` is the target's
    logit; the paper's score is its exponential, which scales the whole map by a positive number.

    The paper has maps after a ReLU, for which ``0 < a <= 1/2``. A sum of a map that is negative,
    with which the coefficients would have a pole, counts as 0.

    Values (H, W): the coarse map, enlarged. They do not add up to anything. Needs gradients and a
    layer whose output is a map. Cost: one forward pass, and a backward pass down to the layer.
    """

    name = "grad_cam_plus_plus"

    def refusal(self, model: Model) -> str | None:
        """Needs a layer whose output is a map."""
        return refusal_without_layers(model)

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.GradCamPlusPlus, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (H, W). See `GradientMethod`."""
        return explain_by_gradients(model, batch, parameters, _combine)


def _combine(activations: Tensor, gradients: Tensor) -> Tensor:
    positive = gradients.relu()
    sums = activations.sum(dim=(2, 3), keepdim=True).clamp(min=0)
    weights = (positive / (2 + positive * sums)).sum(dim=(2, 3), keepdim=True)
    return (weights * activations).sum(dim=1).relu()
