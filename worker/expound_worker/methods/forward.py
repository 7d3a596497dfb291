"""The forward pass that methods can share, and the gradients of scores by its inputs."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from expound_worker.models.model import Model

SHARING = ("saliency", "input_x_gradient")
"""Methods that need no more than a forward pass of the inputs and its gradient."""


@dataclass(frozen=True, eq=False)
class Forward:
    """A forward pass that can be differentiated, as often as one likes.

    Attributes:
        inputs: (N, C, H, W) float32, in model input units.
        logits: (N, classes), with their graph.
    """

    inputs: Tensor
    logits: Tensor

    @classmethod
    def run(cls, model: Model, inputs: Tensor) -> Self:
        """Runs the model; its batch is that of `inputs`, however large."""
        leaf = inputs.detach().requires_grad_()
        with torch.enable_grad():
            return cls(leaf, model.module(leaf))

    def gradients(self, targets: Tensor) -> Tensor:
        """The gradient (N, C, H, W) of each input's logit of its target (N,) by that input."""
        scores = self.logits.gather(1, targets[:, None])
        (gradients,) = torch.autograd.grad(scores.sum(), self.inputs, retain_graph=True)
        return gradients
