"""Layer methods leave nothing on the network, and do not meet those of other threads."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.layer_maps import activations_and_gradients, enlarge
from expound_worker.methods.method import Answer, Batch, MethodError
from expound_worker.methods.score_cam import ScoreCam
from expound_worker.models.model import Model
from tests.numeric.models import ignore, resolved
from tests.numeric.test_layers import LAYER_METHODS, model_of

every_method = pytest.mark.parametrize("name", LAYER_METHODS)


class Network(nn.Module):
    """Two convolutions and what tests do between them; it writes into its inputs."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, 4, 3)
            self.second = nn.Conv2d(4, 6, 3)
            self.head = nn.Linear(6, 5)
        self.between = nn.Identity()
        self.meeting: threading.Barrier | None = None
        self.fails = False
        self.runs_second_twice = False

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images.mul_(2)).relu_()
        if self.meeting is not None:
            self.meeting.wait(timeout=30)
        if self.fails:
            raise ZeroDivisionError("a network that fails")
        if self.runs_second_twice:
            self.second(maps)
        logits: Tensor = self.head(self.second(maps).relu_().mean(dim=(2, 3)))
        return logits


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def model(network: Network) -> Model:
    return model_of(network, 16, 16)


@pytest.fixture
def batch(model: Model) -> Batch:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) - 0.5
    return Batch(images, torch.tensor([1, 3]), [0.0, 0.0])


def explained(model: Model, batch: Batch, name: str, layer: str) -> list[Answer]:
    method = method_pb2.Method()
    getattr(method, name).layer = layer
    parameters = resolved(getattr(method, name))
    if name in GRADIENT_METHODS:
        return GRADIENT_METHODS[name].attribute(model, batch, parameters, 0)
    return ScoreCam().attribute(
        model, batch.inputs[0].clone(), batch.targets.tolist(), parameters, 0, ignore
    )


def traces(network: nn.Module) -> Iterator[tuple[str, object]]:
    """All that a method might leave on a network."""
    for name, module in network.named_modules():
        for attribute, value in vars(module).items():
            if "hooks" in attribute:
                yield f"{name}.{attribute}", len(value)
        yield name, (module.training, sorted(vars(module)))
    for name, parameter in network.named_parameters():
        yield name, (parameter.requires_grad, parameter.grad, parameter._version)


@every_method
def test_nothing_is_left_on_the_network_after_success(
    name: str, network: Network, model: Model, batch: Batch
) -> None:
    before = list(traces(network))
    assert any(answer.values.any() for answer in explained(model, batch, name, "first"))
    assert list(traces(network)) == before


@every_method
def test_nothing_is_left_on_the_network_after_a_failure(
    name: str, network: Network, model: Model, batch: Batch
) -> None:
    network.fails = True
    before = list(traces(network))
    with pytest.raises(ZeroDivisionError):
        explained(model, batch, name, "second")
    assert list(traces(network)) == before


@every_method
def test_nothing_is_left_on_the_network_after_a_refusal(
    name: str, network: Network, model: Model, batch: Batch
) -> None:
    before = list(traces(network))
    with pytest.raises(MethodError) as unknown:
        explained(model, batch, name, "third")
    assert unknown.value.metadata["field"] == "layer"
    network.runs_second_twice = True
    with pytest.raises(MethodError) as changed:
        explained(model, batch, name, "second")
    assert changed.value.reason is Reason.METHOD_UNSUPPORTED
    assert "runs 2 times on this input, but 1 on others" in changed.value.message
    network.runs_second_twice = False
    assert list(traces(network)) == before


@every_method
def test_inputs_are_left_as_they_were_though_the_network_writes_into_them(
    name: str, model: Model, batch: Batch
) -> None:
    before = batch.inputs.clone()
    explained(model, batch, name, "second")
    assert batch.inputs.equal(before)
    assert not batch.inputs.requires_grad


def test_maps_are_those_that_left_the_layer_though_they_are_changed_in_place(
    network: Network, model: Model, batch: Batch
) -> None:
    (second,) = [layer for layer in model.layers if layer.name == "second"]
    with torch.no_grad():
        expected = network.second(network.first(2 * batch.inputs).relu())
    maps, gradients = activations_and_gradients(model, second, batch.inputs, batch.targets)
    assert (expected < 0).any()
    assert torch.allclose(maps, expected, atol=1e-6)
    weights = network.head.weight[batch.targets][:, :, None, None] / expected[0, 0].numel()
    assert torch.allclose(gradients, weights * (expected > 0), atol=1e-7)


@pytest.mark.parametrize("layers", [("first", "second"), ("second", "second")])
@pytest.mark.parametrize("other", ["layer_activation", "grad_cam", "eigen_cam"])
def test_two_threads_on_one_network_do_not_see_each_other(
    layers: tuple[str, str], other: str, network: Network, model: Model, batch: Batch
) -> None:
    jobs = [("layer_cam", layers[0]), (other, layers[1])]
    halves = [batch.one(0), batch.one(1)]
    alone = [explained(model, half, *job)[0].values for half, job in zip(halves, jobs, strict=True)]
    before = list(traces(network))
    network.meeting = threading.Barrier(2)  # both are within the network at once
    with ThreadPoolExecutor(2) as threads:
        running = [
            threads.submit(explained, model, half, *job)
            for half, job in zip(halves, jobs, strict=True)
        ]
        together = [answers.result(60)[0].values for answers in running]
    network.meeting = None
    for ours, expected in zip(together, alone, strict=True):
        assert np.array_equal(ours, expected)
        assert expected.any()
    assert list(traces(network)) == before


class PreActivated(nn.Module):
    """A block whose shortcut reads what its first layer has changed in place."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem: nn.Module = nn.Conv2d(3, 8, 3, padding=1)
            self.relu: nn.ReLU | nn.Dropout = nn.ReLU(in_place)
            self.inner = nn.Conv2d(8, 8, 3, padding=1)
            self.outer = nn.Conv2d(8, 8, 3, padding=1)
            self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        changed = self.relu(maps)
        shortcut = maps if self.relu.inplace else changed
        block = self.outer(torch.relu(self.inner(changed)))
        logits: Tensor = self.head((shortcut + block).mean(dim=(2, 3)))
        return logits


@every_method
def test_what_is_read_again_behind_a_layer_in_place_goes_through_that_layer(
    name: str, batch: Batch
) -> None:
    found, expected = (
        explained(model_of(PreActivated(in_place), 16, 16), batch, name, "relu")
        for in_place in (True, False)
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.values.any()
        assert np.allclose(ours.values, theirs.values, atol=1e-5 * np.abs(theirs.values).max())


class OfLayers(nn.Module):
    """A layer whose output cannot be written to, or has memory of its input."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 1, 3)
            self.second = nn.Conv2d(6, 6, 3)
            self.head = nn.Linear(6, 5)
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        maps = self.layer(self.stem(images))
        logits: Tensor = self.head(self.second(maps).relu().mean(dim=(2, 3)))
        return logits


class Expanding(nn.Module):
    """Repeats channels without memory for them."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.expand(-1, 6, -1, -1)


class Splitting(nn.Module):
    """Gives one of several views of the same memory, none of which torch lets be written to."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.repeat(1, 12, 1, 1).chunk(2, dim=1)[1]


@pytest.mark.parametrize("layer", [Expanding(), Splitting()])
def test_outputs_that_cannot_be_written_to_have_their_gradients(
    layer: nn.Module, batch: Batch
) -> None:
    network = OfLayers(layer)
    model = model_of(network, 16, 16)
    (found,) = [found for found in model.layers if found.name == "layer"]
    maps, gradients = activations_and_gradients(model, found, batch.inputs, batch.targets)
    leaf = layer(network.stem(batch.inputs)).clone().requires_grad_()
    scores = network.head(network.second(leaf).relu().mean(dim=(2, 3)))
    (expected,) = torch.autograd.grad(scores.gather(1, batch.targets[:, None]).sum(), leaf)
    assert maps.equal(leaf.detach())
    assert torch.allclose(gradients, expected, atol=1e-7)


def test_what_is_read_beside_a_layer_that_changes_nothing_does_not_go_through_it(
    batch: Batch,
) -> None:
    """In eval mode a dropout gives what it is given; the shortcut reads that beside it."""
    network = PreActivated(in_place=True)
    network.stem = nn.Sequential(network.stem, nn.ReLU(inplace=True))
    network.relu = nn.Dropout(inplace=True)
    model = model_of(network, 16, 16)
    (found,) = [found for found in model.layers if found.name == "relu"]
    _, gradients = activations_and_gradients(model, found, batch.inputs, batch.targets)
    maps = network.stem(batch.inputs)
    leaf = maps.clone().requires_grad_()
    block = network.outer(network.inner(leaf).relu())
    scores = network.head((maps + block).mean(dim=(2, 3)))
    (expected,) = torch.autograd.grad(scores.gather(1, batch.targets[:, None]).sum(), leaf)
    assert torch.allclose(gradients, expected, atol=1e-7)


def test_a_pixel_is_the_mean_of_its_cells_where_there_are_more_of_these() -> None:
    maps = torch.rand(2, 8, 3)
    means = maps.unflatten(1, (4, 2)).mean(dim=2)
    for mode, interpolation in (
        ("nearest", method_pb2.INTERPOLATION_NEAREST),
        ("bilinear", method_pb2.INTERPOLATION_BILINEAR),
    ):
        expected = nn.functional.interpolate(means[:, None], (4, 6), mode=mode)[:, 0]
        assert torch.allclose(enlarge(maps, (4, 6), interpolation), expected)


class Saturating(nn.Module):
    """Its score stands still where the maps are above 1 in the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 4, 3, bias=False)
        nn.init.constant_(self.maps.weight, 0.01)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.maps(images).mean(dim=(2, 3)).clamp(max=1))
        return logits


@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_plus_plus", "layer_cam"])
def test_of_a_batch_the_inputs_without_a_gradient_alone_are_warned_of(name: str) -> None:
    model = model_of(Saturating(), 8, 8)
    images = torch.ones(3, 3, 8, 8) * torch.tensor([1.0, 100.0, 2.0])[:, None, None, None]
    answers = explained(model, Batch(images, torch.tensor([0, 0, 0]), [0.0] * 3), name, "maps")
    assert [len(answer.warnings) for answer in answers] == [0, 1, 0]
    assert "no gradient at the positions of layer 'maps'" in answers[1].warnings[0]


@pytest.mark.parametrize("name", ["layer_activation", "eigen_cam"])
def test_of_a_batch_the_inputs_without_a_map_alone_are_warned_of(name: str) -> None:
    model = model_of(Saturating(), 8, 8)
    images = torch.rand(3, 3, 8, 8) * torch.tensor([1.0, 0.0, 2.0])[:, None, None, None]
    answers = explained(model, Batch(images, torch.tensor([0, 0, 0]), [0.0] * 3), name, "maps")
    assert [len(answer.warnings) for answer in answers] == [0, 1, 0]
    assert "the maps of layer 'maps' are zero on this input" in answers[1].warnings[0]
