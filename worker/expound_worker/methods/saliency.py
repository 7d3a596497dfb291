"""Saliency: the gradient of the target's score by the input."""

import captum.attr

from expound.v1 import method_pb2
from expound_worker.methods.method import LOGIT, Answer, Batch
from expound_worker.methods.noise_tunnel import through_noise
from expound_worker.models.model import Model


class Saliency:
    """Simonyan, Vedaldi and Zisserman, 2013: ``|df(x)/dx|``, by Captum.

    Needs gradients. Cost: one forward and one backward pass, times the samples of a noise tunnel.
    """

    name = "saliency"

    def refusal(self, model: Model) -> str | None:
        """None: every model that can be differentiated has it."""
        return None

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.Saliency, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`."""
        method = captum.attr.Saliency(model.module)
        if parameters.HasField("noise_tunnel"):
            tunnel = parameters.noise_tunnel
            values = through_noise(method, tunnel, model, batch, seed, abs=parameters.absolute)
            evaluations = tunnel.n_samples
        else:
            inputs = batch.inputs.detach().requires_grad_()
            values = method.attribute(inputs, target=batch.targets, abs=parameters.absolute)
            evaluations = 1
        return [
            Answer(value, LOGIT, output=logit, evaluations=evaluations)
            for value, logit in zip(values.detach().cpu().numpy(), batch.logits, strict=True)
        ]
