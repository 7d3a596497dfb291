"""Saliency: the gradient of the target's score by the input."""

from expound.v1 import method_pb2
from expound_worker.methods.method import LOGIT, Answer, Batch, GradientMethod
from expound_worker.models.model import Model


class Saliency(GradientMethod):
    """Simonyan, Vedaldi and Zisserman, 2013: ``|df(x)/dx|``; equal to Captum's Saliency.

    Values (C, H, W) in units of the score over model input units. Needs gradients. Cost: one
    backward pass; the forward pass is that of the prediction.
    """

    name = "saliency"

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.Saliency, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`."""
        gradients = batch.gradients(model)
        values = gradients.abs() if parameters.absolute else gradients
        return [
            Answer(value, LOGIT, output=logit, evaluations=1)
            for value, logit in zip(values.cpu().numpy(), batch.logits, strict=True)
        ]
