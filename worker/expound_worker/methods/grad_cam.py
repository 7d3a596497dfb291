"""Grad-CAM: the gradient-weighted sum of a layer's activation maps."""

from torch import Tensor

from expound.v1 import method_pb2
from expound_worker.methods.layer_answers import explain_by_gradients
from expound_worker.methods.layer_maps import refusal_without_layers
from expound_worker.methods.method import Answer, Batch, GradientMethod
from expound_worker.models.model import Model


class GradCam(GradientMethod):
    """Selvaraju et al., 2017: ``ReLU(sum over k of mean(df/dA_k) * A_k)``.

    The mean is over the positions of a channel's map ``A_k``, and ``f`` is the target's logit. The
    numbers are those of Captum's LayerGradCam where the layer's channels come first; other layouts
    (Swin, ViT) are brought to that one before. Without `relu` negative evidence is kept.

    Values (H, W): the coarse map, enlarged. They do not add up to anything. Needs gradients and a
    layer whose output is a map. Cost: one forward pass, and a backward pass down to the layer.
    """

    name = "grad_cam"

    def refusal(self, model: Model) -> str | None:
        """Needs a layer whose output is a map."""
        return refusal_without_layers(model)

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.GradCam, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (H, W). See `GradientMethod`."""

        def combine(activations: Tensor, gradients: Tensor) -> Tensor:
            weighted = (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1)
            return weighted.relu() if parameters.relu else weighted

        return explain_by_gradients(model, batch, parameters, combine)
