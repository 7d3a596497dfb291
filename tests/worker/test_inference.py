"""Forward passes without gradients: the fastest way that gives the same logits."""

import shutil
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from expound_worker.models.folding import folded
from expound_worker.models.inference import InferenceError, choose
from expound_worker.models.pooling import SlicedMaxPool2d, slice_pools

SHAPE = (3, 32, 32)
CPU = torch.device("cpu")


class Mean(nn.Module):
    """Scores that know nothing of the layout, after work that does."""

    def __init__(self, slow: torch.memory_format) -> None:
        super().__init__()
        self._slow = slow

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.is_contiguous(memory_format=self._slow):
            for _ in range(20):
                torch.ones(200, 200) @ torch.ones(200, 200)
        return inputs.mean(dim=(2, 3))


class Viewing(nn.Module):
    """Fails at inputs that are not contiguous."""

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.is_contiguous():
            torch.ones(500, 500) @ torch.ones(500, 500)
        return inputs.view(len(inputs), -1)[:, :4]


class Strided(nn.Module):
    """Reads its inputs in the order of memory."""

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.is_contiguous():
            torch.ones(500, 500) @ torch.ones(500, 500)
        return inputs.as_strided((len(inputs), 4), (inputs[0].numel(), 1))


class Normalised(nn.Module):
    """Convolutions and their normalisations, as they should not be folded."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.other = nn.BatchNorm2d(3)
        if kind == "weight norm":
            nn.utils.parametrizations.weight_norm(self.convolution)

    def forward(self, inputs: Tensor) -> Tensor:
        convolved: Tensor = self.convolution(inputs)
        normalised: Tensor = self.norm(convolved)
        if self._kind == "used twice":
            normalised = normalised + convolved
        elif self._kind == "normalised twice":
            normalised = normalised + self.other(convolved)
        elif self._kind == "run twice":
            normalised = normalised + self.convolution(normalised)
        elif self._kind == "its normalisation run twice":
            normalised = self.norm(normalised)
        return normalised.flatten(2).mean(dim=2)


def _network(module: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d) and part.track_running_stats:
                part.get_buffer("running_mean").uniform_(-1.0, 1.0)
                part.get_buffer("running_var").uniform_(0.5, 2.0)
    return module.eval().requires_grad_(False)


def _memory_format(module: nn.Module) -> torch.memory_format:
    return choose(_network(module), SHAPE, CPU).memory_format


def _compare(run: Callable[[Tensor], Tensor], module: nn.Module, tolerance: float) -> None:
    for size in (1, 2, 5):
        inputs = torch.randn(size, *SHAPE)
        logits = module(inputs)
        assert (run(inputs) - logits).abs().max() <= tolerance * logits.abs().max()


def test_the_faster_memory_format_is_taken() -> None:
    assert _memory_format(Mean(slow=torch.contiguous_format)) is torch.channels_last
    assert _memory_format(Mean(slow=torch.channels_last)) is torch.contiguous_format


@pytest.mark.parametrize("module", [Viewing(), Strided()])
def test_a_network_that_it_breaks_keeps_its_own(module: nn.Module) -> None:
    inference = choose(_network(module), SHAPE, CPU)
    assert inference.memory_format is torch.contiguous_format
    _compare(inference, module, 0.0)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "googlenet"])
def test_normalisations_are_folded_and_the_logits_the_same(name: str) -> None:
    builder = torchvision.models.get_model_builder(name)
    extra = {"init_weights": False} if name == "googlenet" else {}
    module = _network(builder(weights=None, num_classes=10, **extra))
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    copy = folded(module, torch.rand(2, *SHAPE))
    # Auxiliary heads, which do not run, keep theirs.
    assert not any(
        isinstance(part, nn.BatchNorm2d) and "aux" not in path
        for path, part in copy.named_modules()
    )
    _compare(copy, module, 1e-4)
    _compare(choose(module, SHAPE, CPU), module, 1e-4)
    assert all(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, 2),
        nn.MaxPool2d(3, 1),
        nn.MaxPool2d((2, 3), (3, 1)),
        nn.MaxPool2d(2, 3),
    ],
)
@pytest.mark.parametrize("size", [(8, 8), (9, 12), (7, 5)])
def test_a_sliced_pool_has_the_very_values(
    pool: nn.MaxPool2d, size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    network = nn.Sequential(nn.Sequential(pool))
    inputs = torch.randn(3, 4, *size).contiguous(memory_format=memory_format)
    inputs[0, 1, 2, 3], inputs[1, 0, 4, 4], inputs[2] = float("nan"), float("inf"), -float("inf")
    expected = pool(inputs)
    slice_pools(network)
    assert isinstance(network.get_submodule("0.0"), SlicedMaxPool2d)
    torch.testing.assert_close(network(inputs), expected, rtol=0, atol=0, equal_nan=True)
    with pytest.raises(RuntimeError):
        network(inputs[:, :, :1, :1])


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, padding=1),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
        SlicedMaxPool2d(2),
    ],
)
def test_other_pools_stay_as_they_are(pool: nn.MaxPool2d) -> None:
    inner = nn.Sequential(pool)
    slice_pools(nn.Sequential(inner))
    assert inner[0] is pool


@pytest.mark.parametrize("kind", ["used twice", "normalised twice", "run twice", "weight norm"])
def test_what_cannot_be_folded_is_not(kind: str) -> None:
    module = _network(Normalised(kind))
    _compare(choose(module, SHAPE, CPU), module, 1e-5)


@pytest.mark.parametrize("kind", ["run twice", "its normalisation run twice"])
def test_what_runs_twice_is_left_and_the_rest_folded(kind: str) -> None:
    module = _network(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), Normalised(kind)))
    copy = folded(module, torch.rand(2, *SHAPE))
    _compare(copy, module, 1e-5)
    assert isinstance(copy.get_submodule("1"), nn.Identity)
    assert isinstance(copy.get_submodule("2.norm"), nn.BatchNorm2d)


def test_a_normalisation_by_the_batch_itself_is_left_and_the_rest_folded() -> None:
    own = nn.BatchNorm2d(3, track_running_stats=False)
    convolutions = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1)
    layers = [convolutions[0], own, convolutions[1], nn.BatchNorm2d(4), nn.Flatten(2)]
    module = _network(nn.Sequential(*layers))
    copy = folded(module, torch.rand(2, *SHAPE))
    _compare(copy, module, 1e-5)
    assert isinstance(copy.get_submodule("1"), nn.BatchNorm2d)
    assert isinstance(copy.get_submodule("3"), nn.Identity)


def test_a_folded_copy_shares_the_other_tensors_and_keeps_no_hooks() -> None:
    layers = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3072, 4)
    module = _network(nn.Sequential(*layers))
    copy = folded(module, torch.rand(2, *SHAPE))
    assert copy.get_parameter("3.weight") is module.get_parameter("3.weight")
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in copy.modules())


def test_the_error_of_autocast_is_measured() -> None:
    module = _network(torchvision.models.mobilenet_v3_small(num_classes=10))
    inference = choose(module, SHAPE, CPU, autocast=torch.bfloat16)
    assert 1e-5 < inference.error < 0.1
    assert inference(torch.randn(2, *SHAPE)).dtype is torch.float32
    _compare(inference, module, 0.2)


def test_autocast_that_gives_no_numbers_is_refused() -> None:
    linear = nn.Linear(3 * 32 * 32, 4)
    nn.init.constant_(linear.weight, 1e4)
    with pytest.raises(InferenceError, match="NaN or infinity"):
        choose(_network(nn.Sequential(nn.Flatten(), linear)), SHAPE, CPU, autocast=torch.float16)


def test_a_network_that_gives_no_numbers_itself_is_run_as_it_is() -> None:
    class Nan(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.flatten(1)[:, :4] * float("nan")

    module = _network(Nan())
    assert choose(module, SHAPE, CPU).network is module


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_a_compiled_network_gives_the_same_for_batches_of_any_size() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 4)
    )
    inference = choose(_network(module), SHAPE, CPU, compiled=True)
    assert inference.compiled
    _compare(inference, module, 1e-5)


def test_a_network_that_cannot_be_compiled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_inputs: Tensor) -> Tensor:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda _network: fails)
    with pytest.raises(InferenceError, match="no compiler"):
        choose(_network(Viewing()), SHAPE, CPU, compiled=True)
