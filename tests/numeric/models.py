"""The two models that numeric tests run on, and what they ask of them."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import skimage.data
import torch
from google.protobuf.message import Message
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from expound import parameters
from expound_worker.methods.method import Answer, Estimate, largest_error
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.efficientnet_lite0 import build
from expound_worker.models.inference import Inference
from expound_worker.models.inputs import spare_inputs
from expound_worker.models.layers import find_layers
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from tests.models.networks import Cifar

M = TypeVar("M", bound=Message)


def make_model(module: nn.Module, preprocessing: Preprocessing, batch_size: int) -> Model:
    shape = preprocessing.input_shape
    module.eval().requires_grad_(False)
    spare_inputs(module, torch.zeros(1, *shape))
    with torch.inference_mode():
        class_count = module(torch.zeros(1, *shape)).shape[1]
    return Model(
        name="model",
        version="1",
        digest="0" * 64,
        pool="default",
        module=module,
        device=torch.device("cpu"),
        preprocessing=preprocessing,
        labels=(),
        class_count=class_count,
        layers=find_layers(module, shape, torch.device("cpu")),
        batch=BatchSize(batch_size),
        chunk=BatchSize(batch_size),
        inference=Inference(module),
    )


def with_module(model: Model, module: nn.Module, **changes: Any) -> Model:
    """The model with another network, and a batch size of its own."""
    own = {"batch": BatchSize(model.batch_size), **changes}
    return dataclasses.replace(model, module=module, inference=Inference(module), **own)


def efficientnet_lite0() -> Model:
    preprocessing = Preprocessing(
        input_shape=(3, 224, 224), resize=256, mean=(127 / 255,) * 3, std=(128 / 255,) * 3
    )
    return make_model(build(), preprocessing, batch_size=16)


def cifar_net(seed: int = 0) -> Model:
    """The network of the Captum tutorial, on 32x32 images, with random weights from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(Cifar(), Sharpen())
    preprocessing = Preprocessing(
        input_shape=(3, 32, 32), resize=None, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    return make_model(module, preprocessing, batch_size=16)


def upsampling(size: int, scale: tuple[float, float]) -> Model:
    """A classifier of square images that begins with an Upsample, without a bias."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Upsample(scale_factor=scale, mode="bilinear"),
            *(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()),
            nn.Linear(96, 4, bias=False),
        )
    preprocessing = Preprocessing((3, size, size), None, (0.5,) * 3, (0.5,) * 3)
    return make_model(module, preprocessing, batch_size=16)


def cifar_of_modules(model: Model) -> nn.Sequential:
    """The network of `cifar_net` with a module for each function, as Captum and shap ask for."""
    found, sharpen = copy.deepcopy(model.module).children()
    assert isinstance(found, Cifar)
    for parameter in found.fc3.parameters():
        parameter.copy_(sharpen(parameter))
    return nn.Sequential(
        *(found.conv1, nn.ReLU(), *apart(nn.MaxPool2d(2))),
        *(found.conv2, nn.ReLU(), *apart(nn.MaxPool2d(2)), nn.Flatten()),
        *(found.fc1, nn.ReLU(), found.fc2, nn.ReLU(), found.fc3),
    )


def apart(pool: nn.MaxPool2d) -> list[nn.Module]:
    """A pool with a tensor of its own to start from.

    Captum's DeepLift is wrong where a pool follows a ReLU at once: it hangs the rules of both on
    the tensor between them, and that of the ReLU runs first.
    """
    return [nn.AvgPool2d(1), pool]


class ScaledGradient(nn.Module):
    """Gives what it is given, and scales the gradient: no rule can know of that."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: Tensor) -> Tensor:
        passed = values.clone()
        if passed.requires_grad:
            passed.register_hook(lambda gradient: gradient * self.factor)
        return passed


class Sharpen(nn.Module):
    """Makes the logits of random weights as different as those of trained ones."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits * 20


def cat(model: Model) -> Tensor:
    """The photo `chelsea` as the model sees it."""
    photo = skimage.data.chelsea()
    return model.preprocessing(Image.fromarray(photo))


def resolved(message: M) -> M:
    """The message with every default filled in, as a worker gets it."""
    parameters.resolve(message)
    return message


class Reports:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.totals: set[int] = set()
        self.standard_errors: list[float | None] = []
        self.estimates: list[Sequence[Answer] | None] = []

    def __call__(self, done: int, total: int, estimate: Estimate | None = None) -> None:
        answers = estimate() if estimate is not None else None
        self.done.append(done)
        self.totals.add(total)
        self.standard_errors.append(largest_error(answers or []))
        self.estimates.append(answers or None)


def ignore(done: int, total: int, estimate: Estimate | None = None) -> None:
    """A report that does nothing."""


def plain_scores(
    model: Model,
    image: Tensor,
    baseline: Tensor,
    segments: NDArray[np.int32],
    targets: Sequence[int],
) -> Callable[[NDArray[np.generic]], NDArray[np.float64]]:
    """The scores of masks, done plainly: one composite at a time, segment by segment."""

    def scores(masks: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.concatenate([score(mask.astype(bool)) for mask in masks])

    def score(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        composite = baseline.clone().numpy()
        for segment in np.flatnonzero(mask):
            composite[:, segments == segment] = image[:, segments == segment]
        with torch.inference_mode():
            logits = model.module(torch.from_numpy(composite)[None])
        probabilities: NDArray[np.float64] = logits.double().softmax(dim=1)[:, targets].numpy()
        return probabilities

    return scores
