"""A network that writes into its inputs is explained as the same network that does not."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from expound.v1 import method_pb2 as m
from expound_worker.methods.catalogue import GRADIENT_METHODS, METHODS, PERTURBATION_METHODS
from expound_worker.methods.method import Answer, Batch
from expound_worker.models.entry import read_entries
from expound_worker.models.loading import load
from expound_worker.models.model import Model
from tests.numeric.models import ignore, resolved

GRID = m.Segmentation(grid=m.GridSegmentation(rows=4, columns=4))
OF_GRIDS = ("lime", "kernel_shap", "permutation_shap", "feature_ablation")
OF_SAMPLES = ("lime", "kernel_shap", "partition_shap", "rise")
INPUT = "[models.m.input]\nshape = [3, 16, 16]\n"


class Standardising(nn.Module):
    """Standardises its inputs itself, in place or not."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.network = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, bias=False), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3, bias=False)),
        )

    def forward(self, images: Tensor) -> Tensor:
        if self.in_place:
            images -= 0.1
            images /= 1.7
        else:
            images = (images - 0.1) / 1.7
        logits: Tensor = self.network(images)
        return logits


def built(folder: Path, in_place: bool) -> Model:
    path = folder / "models.toml"
    builder = f'builder = "{__name__}:Standardising"\narguments = {{ in_place = '
    path.write_text(f"[models.m]\n{builder}{str(in_place).lower()} }}\nbatch_size = 4\n{INPUT}")
    return load(read_entries(path)[0])


def exported(folder: Path, module: nn.Module) -> Model:
    batch = {0: torch.export.Dim("batch", min=1, max=1024)}
    program = torch.export.export(
        module.eval(), (torch.rand(2, 3, 16, 16),), dynamic_shapes=(batch,)
    )
    torch.export.save(program, folder / "network.pt2")
    digest = hashlib.sha256((folder / "network.pt2").read_bytes()).hexdigest()
    path = folder / "models.toml"
    head = f'[models.m]\narchive = "network.pt2"\narchive_sha256 = "{digest}"\nbatch_size = 4\n'
    path.write_text(head + INPUT)
    return load(read_entries(path)[0])


def images() -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def explained(name: str, model: Model, inputs: Tensor, *, noise: bool = False) -> Sequence[Answer]:
    method = m.Method()
    parameters = getattr(method, name)
    parameters.SetInParent()
    if name in OF_GRIDS:
        parameters.segmentation.CopyFrom(GRID)
    if name in OF_SAMPLES:
        parameters.n_samples = 100
    if noise:
        parameters.noise_tunnel.n_samples = 3
    resolved(parameters)
    targets = torch.tensor([0, 1])
    if name in GRADIENT_METHODS:
        logits = model.logits(inputs).gather(1, targets[:, None])[:, 0]
        batch = Batch(inputs, targets, logits.tolist())
        return GRADIENT_METHODS[name].attribute(model, batch, parameters, 0)
    with torch.inference_mode():
        method_of = PERTURBATION_METHODS[name]
        return method_of.attribute(model, inputs[0], targets.tolist(), parameters, 0, ignore)


def compare(
    explain: Callable[[Model, Tensor], Sequence[Answer]], writing: Model, other: Model
) -> None:
    given = images()
    found = explain(writing, given)
    assert given.equal(images())
    assert not given.requires_grad
    for answer, expected in zip(found, explain(other, images()), strict=True):
        assert expected.values.any()
        scale = np.abs(expected.values).max()
        assert np.abs(answer.values - expected.values).max() <= 1e-5 * scale


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def writing(folder: Path) -> Model:
    return built(folder, in_place=True)


@pytest.fixture(scope="module")
def other(folder: Path) -> Model:
    return built(folder, in_place=False)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_explains_it_as_the_other(name: str, writing: Model, other: Model) -> None:
    compare(lambda model, inputs: explained(name, model, inputs), writing, other)


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients", "deep_lift"])
def test_under_noise_too(name: str, writing: Model, other: Model) -> None:
    compare(lambda model, inputs: explained(name, model, inputs, noise=True), writing, other)


@pytest.mark.parametrize("name", ["integrated_gradients", "deep_lift", "occlusion"])
def test_an_exported_program_too(name: str, folder: Path, writing: Model, other: Model) -> None:
    torch.manual_seed(0)
    module = Standardising(in_place=True)
    module.load_state_dict(writing.module.state_dict())
    program = exported(folder, module)
    compare(lambda model, inputs: explained(name, model, inputs), program, other)


def test_passes_without_gradients_leave_the_inputs_as_they_are(
    writing: Model, other: Model
) -> None:
    given = images()
    logits = writing.logits(given)
    assert given.equal(images())
    assert torch.allclose(logits, other.logits(images()), atol=1e-5)


def test_other_networks_are_given_the_inputs_themselves(writing: Model, other: Model) -> None:
    assert len(writing.module._forward_pre_hooks) == 1
    assert not other.module._forward_pre_hooks
