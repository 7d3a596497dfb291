"""Deconvolution: the gradient that passes ReLUs only where it is positive."""

from expound.v1 import method_pb2
from expound_worker.methods.method import Answer, Batch, GradientMethod
from expound_worker.models.model import Model
from expound_worker.propagation.rectifiers import Refusals, deconvolved, explain


class Deconvolution(GradientMethod):
    """Zeiler and Fergus, 2014, "Visualizing and Understanding Convolutional Networks".

    The gradient of the score, where each ReLU gives ``max(g, 0)`` backward instead of
    ``g * [x > 0]``. ReLUs are modules, functions, reused or in place alike; ReLU6 and clamps from 0
    count as such. Refused for a network with other activations (SiLU, GELU...), whose gradient the
    method does not change.

    Values (C, H, W) in score per model input unit. Needs gradients. Cost: one forward and one
    backward pass.
    """

    name = "deconvolution"

    def __init__(self) -> None:
        self._refusals = Refusals()

    def refusal(self, model: Model) -> str | None:
        """Names the activations that are no ReLUs, met in one forward pass."""
        return self._refusals.of(model)

    def attribute(
        self, model: Model, batch: Batch, parameters: method_pb2.Deconvolution, seed: int
    ) -> list[Answer]:
        """Explains a batch; values (C, H, W). See `GradientMethod`."""
        return explain(model, batch, deconvolved)
