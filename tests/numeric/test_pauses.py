"""Gradient methods let others in between their passes, and end where they are told to."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from expound import parameters
from expound.v1 import method_pb2
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.method import Batch
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from tests.numeric.gradients import batch_of
from tests.numeric.models import make_model

PASSES_IN_A_ROW = 3
"""GuidedGradCAM's two of one batch, and that of the logits of noisy copies."""
MANY = {"n_steps": 12, "n_samples": 12}
TUNNEL = method_pb2.NoiseTunnel(
    type=method_pb2.NoiseTunnel.TYPE_SMOOTHGRAD, n_samples=12, stdev=0.1
)


class Cancelled(Exception):
    """What a pause raises."""


class Passes:
    """Counts the passes of a network that have no pause between them."""

    def __init__(self, stops: bool) -> None:
        self.in_a_row = 0
        self.most = 0
        self._stops = stops

    def begin(self, *_: object) -> None:
        """One more pass."""
        self.in_a_row += 1
        self.most = max(self.most, self.in_a_row)

    def pause(self) -> None:
        """As `Batch.pause`."""
        if self._stops:
            raise Cancelled
        self.in_a_row = 0


@pytest.fixture
def model() -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 3, bias=False), nn.ReLU(),
            nn.Flatten(), nn.Linear(64, 3, bias=False),
        )  # fmt: skip
    preprocessing = Preprocessing((3, 8, 8), None, (0.5,) * 3, (0.5,) * 3)
    return make_model(module, preprocessing, batch_size=2)


def _explain(model: Model, name: str, passes: Passes, *, noisy: bool) -> None:
    """Explains two images by a method with many steps, samples and noisy copies."""
    given = getattr(method_pb2.Method(), name)
    if noisy:
        given.noise_tunnel.CopyFrom(TUNNEL)
    parameters.resolve(given)
    for field, value in MANY.items():
        if field in given.DESCRIPTOR.fields_by_name:
            setattr(given, field, value)
    batch = batch_of(model, *_images(), targets=[0, 1])
    batch = Batch(batch.inputs, batch.targets, batch.logits, pause=passes.pause)
    hook = model.module.register_forward_pre_hook(passes.begin)
    try:
        GRADIENT_METHODS[name].attribute(model, batch, given, 0)
    finally:
        hook.remove()


def _images() -> Iterator[Tensor]:
    yield from torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def _takes_noise(name: str) -> bool:
    return "noise_tunnel" in getattr(method_pb2.Method(), name).DESCRIPTOR.fields_by_name


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_many_passes_are_never_made_in_a_row(name: str, model: Model) -> None:
    for noisy in (False, True) if _takes_noise(name) else (False,):
        passes = Passes(stops=False)
        _explain(model, name, passes, noisy=noisy)
        assert 0 < passes.most <= PASSES_IN_A_ROW


@pytest.mark.parametrize("name", [*filter(_takes_noise, GRADIENT_METHODS)])
def test_what_a_pause_raises_ends_the_method(name: str, model: Model) -> None:
    with pytest.raises(Cancelled):
        _explain(model, name, Passes(stops=True), noisy=True)
