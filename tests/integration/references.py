"""A map of the service, and what it is compared with: models as libraries ask for them."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from expound_client import Attribution, Client
from expound_client.method import Method
from expound_worker.methods.method import PROBABILITY, Answer
from tests import photos
from tests.models.networks import Cifar
from tests.numeric.models import cifar_of_modules, with_module


def same(
    ours: NDArray[np.float32],
    theirs: Tensor | NDArray[np.float64],
    tolerance: float = 1e-5,
) -> None:
    """Asserts that a map is the expected one, to a share of its largest value; neither is zero."""
    reference = np.asarray(theirs.detach() if isinstance(theirs, Tensor) else theirs)
    largest = np.abs(reference).max()
    assert largest > 0
    assert ours.shape == reference.shape
    assert np.abs(ours - reference).max() <= tolerance * largest


def explained(client: Client, name: str, method: Method, seed: int = 0) -> Attribution:
    """The service's map of the photo for the model's best class."""
    explanation = client.explain(photos.chelsea(), model=name, methods=[method], seed=seed)
    return explanation.result(120)[method.name]


def image_of(name: str) -> Tensor:
    """(1, C, H, W) the photo as the model sees it."""
    return photos.model_input(name, photos.chelsea())


class Rectifier(nn.ReLU):
    """A ReLU or ReLU6 that Captum takes for a ReLU, and changes nothing in place."""

    def __init__(self, highest: float) -> None:
        super().__init__()
        self.highest = highest

    def forward(self, values: Tensor) -> Tensor:
        return functional.hardtanh(values, 0.0, self.highest)


def for_captum(name: str) -> nn.Module:
    """The network with a module for each of its rectifiers, which Captum's hooks can meet."""
    model = photos.model(name)
    if name == "cifar":
        twin = Cifar()
        twin.load_state_dict(model.module.state_dict())
        unscaled = nn.Sequential(twin, nn.Identity()).requires_grad_(False)
        return cifar_of_modules(with_module(model, unscaled))
    module = copy.deepcopy(model.module)
    for parent in list(module.modules()):
        for child_name, child in parent.named_children():
            if isinstance(child, nn.ReLU | nn.ReLU6):
                highest = 6.0 if isinstance(child, nn.ReLU6) else float("inf")
                setattr(parent, child_name, Rectifier(highest))
    return module


def maps_and_gradients(name: str, layer: str, target: int) -> tuple[Tensor, Tensor]:
    """(channels, h, w) output of a layer for the photo, and the gradient of the target's logit.

    Of a layer that runs several times, "#2" behind its name says which run is meant.
    """
    module = photos.model(name).module
    submodule, _, run = layer.partition("#")
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        outputs.append(output.clone())
        return outputs[-1].clone()  # what follows may change it in place

    hook = module.get_submodule(submodule).register_forward_hook(keep)
    score = module(image_of(name).requires_grad_())[0, target]
    hook.remove()
    output = outputs[int(run or 1) - 1]
    (gradient,) = torch.autograd.grad(score, output)
    return output[0].detach(), gradient[0]


def answer(ours: Attribution) -> Answer:
    """A map as the worker's method gave it, as far as the numeric tests' references read it."""
    return Answer(
        ours.values,
        PROBABILITY,
        ours.output,
        ours.evaluations,
        segments=ours.segments,
        weights=ours.weights,
    )


def sums_of_quarters(maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """(N, 4) sums of maps (C, H, W) over the quarters of the image."""
    stacked = np.array(maps, dtype=np.float64).sum(axis=1)
    count, height, width = stacked.shape
    cells = stacked.reshape(count, 2, height // 2, 2, width // 2)
    sums: NDArray[np.float64] = cells.sum(axis=(2, 4)).reshape(count, 4)
    return sums
