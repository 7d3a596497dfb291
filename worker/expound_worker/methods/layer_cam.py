"""LayerCAM: a layer's activations, weighted one by one by their positive gradients."""

from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.layer_answers import explain_by_gradients
from expound_worker.methods.layer_maps import refusal_without_layers
from expound_worker.methods.method import Answer, Batch, GradientMethod
from expound_worker.models.model import Model


class LayerCam(GradientMethod):
    """Jiang et al., 2021: ``ReLU(sum over k of ReLU(df/dA_k) * A_k)``.

    Every position of a channel's map ``A_k`` has its own weight, so that early layers, whose maps
    are fine, can be used too; ``f`` is the target's logit.

    Values (H, W): the coarse map, enlarged. They do not add up to anything. Needs gradients and a
    layer whose output is a map. Cost: one forward pass, and a backward pass down to the layer.
    """

    name = "layer_cam"

    def refusal(self, model: Model) -> str | None:
        """Needs a layer whose output is a map."""
        return refusal_without_layers(model)

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.LayerCam, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (H, W). See `GradientMethod`."""
        return explain_by_gradients(model, batch, parameters, _combine)


def _combine(activations: Tensor, gradients: Tensor) -> Tensor:
    return (gradients.relu() * activations).sum(dim=1).relu()
