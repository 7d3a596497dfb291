"""Input times gradient."""

from expound.v1 import method_pb2
from expound_worker.methods.method import LOGIT, Answer, Batch, GradientMethod
from expound_worker.models.model import Model


class InputXGradient(GradientMethod):
    """Shrikumar et al., 2016, "Not Just a Black Box": ``x * df(x)/dx``.

    Values (C, H, W) in units of the score: what each input gives to the linear part of the model
    there. They sum to the score of a network that is piecewise linear without biases, and to
    nothing in general. Equal to Captum's InputXGradient. Needs gradients. Cost: one backward
    pass; the forward pass is that of the prediction.
    """

    name = "input_x_gradient"

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.InputXGradient, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`."""
        values = batch.inputs.detach() * batch.gradients(model)
        return [
            Answer(value, LOGIT, output=logit, evaluations=1)
            for value, logit in zip(values.cpu().numpy(), batch.logits, strict=True)
        ]
