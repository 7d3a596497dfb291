"""A classifier of the zoo, one input, and what plain torch says of the two."""

import copy
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.autograd.forward_ad as forward_mode
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from expound_worker.methods.method import Batch
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from tests.numeric.classifiers import build
from tests.numeric.models import make_model

BATCH_SIZE = 16
_DIRECTIONS = 2
_OTHER_BASELINES = 2


@dataclass(frozen=True)
class Subject:
    """A classifier with random weights, and an input of noise with its best class.

    Attributes:
        name: name of the classifier.
        model: the classifier, on the CPU.
        batch: the input (1, 3, H, W), its target and its logit.
    """

    name: str
    model: Model = field(repr=False)
    batch: Batch = field(repr=False)

    @property
    def image(self) -> Tensor:
        """(3, H, W)."""
        return self.batch.inputs[0]

    @property
    def target(self) -> int:
        return int(self.batch.targets[0])

    @cached_property
    def zeros(self) -> Tensor:
        """(3, H, W): the baseline of all methods that take one."""
        return torch.zeros_like(self.image)

    @cached_property
    def baselines(self) -> Tensor:
        """(n, 3, H, W): those of methods that take several, zeros first."""
        generator = torch.Generator().manual_seed(5)
        noise = torch.randn(_OTHER_BASELINES, *self.image.shape, generator=generator)
        return torch.cat([self.zeros[None], 0.3 * noise])

    @cached_property
    def double(self) -> nn.Module:
        """The network in float64."""
        return copy.deepcopy(self.model.module).double()

    @cached_property
    def gradient(self) -> NDArray[np.float32]:
        """(3, H, W) gradient of the score, as torch gives it."""
        return plain_gradient(self.model.module, self.batch)

    @cached_property
    def gradient_error(self) -> float:
        """How far that is from the slopes of the score in a few random directions.

        The slopes are found in forward mode, which has nothing in common with the backward pass but
        the places where ReLUs open: so it sees an error of every element, and none of rounding. The
        error is relative to the length of the gradient, and about that of the gradient.
        """
        generator = torch.Generator().manual_seed(3)
        missed = []
        for _ in range(_DIRECTIONS):
            direction = torch.randn(self.image.shape, generator=generator)
            expected = float((torch.from_numpy(self.gradient) * direction).double().sum())
            missed.append(expected - self._slope(direction))
        return float(np.sqrt(np.mean(np.square(missed))) / np.linalg.norm(self.gradient))

    def logit(self, image: Tensor) -> float:
        """The target's logit of one image alone."""
        with torch.no_grad():
            return float(self.model.module(image[None].clone())[0, self.target])

    def probabilities(self, images: Tensor) -> NDArray[np.float64]:
        """(N,) the target's probability of images (N, 3, H, W)."""
        with torch.no_grad():
            logits = self.model.module(images.clone())
        found: NDArray[np.float64] = logits.double().softmax(dim=1)[:, self.target].numpy()
        return found

    def _slope(self, direction: Tensor) -> float:
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with forward_mode.dual_level(), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
                dual = forward_mode.make_dual(self.batch.inputs, direction[None])
                logits = self.model.module(dual.clone())
                return float(forward_mode.unpack_dual(logits).tangent[0, self.target])
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)


def load(name: str) -> Subject:
    """Builds a classifier, seeded, with the statistics of its BatchNorm from noise."""
    module, size = build(name)
    preprocessing = Preprocessing((3, size, size), None, (0.5,) * 3, (0.5,) * 3)
    model = make_model(module, preprocessing, BATCH_SIZE)
    inputs = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits, targets = module(inputs.clone()).max(dim=1)
    return Subject(name, model, Batch(inputs, targets, logits.tolist()))


def plain_gradient(module: nn.Module, batch: Batch) -> NDArray[np.float32]:
    """(3, H, W) gradient of the target's logit by the one input of a batch."""
    leaf = batch.inputs.clone().requires_grad_()
    scores = module(leaf.clone()).gather(1, batch.targets[:, None])
    (gradient,) = torch.autograd.grad(scores.sum(), leaf)
    values: NDArray[np.float32] = gradient[0].numpy()
    return values
