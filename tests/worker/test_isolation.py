"""No method leaves a trace: in the model, in the input, or in the state that all code shares."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as torch_module

from expound import parameters
from expound.v1 import method_pb2
from expound_worker.methods.catalogue import GRADIENT_METHODS, METHODS, PERTURBATION_METHODS
from expound_worker.methods.method import Answer, Batch, Estimate, Report
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from tests.numeric.models import ignore, make_model

SMALL = {"n_steps": 4, "n_samples": 24}
DEADLINE_S = 30.0
WITH_HOOKS, WITH_RULES = "grad_cam", "deep_lift"


class Residual(nn.Module):
    """Two blocks with what networks do: norms, a ReLU used twice, sums in place, one buffer."""

    def __init__(self, entered: Callable[[], None]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.block = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        self.dropout = nn.Dropout(0.5)
        self._entered = entered

    def forward(self, inputs: Tensor) -> Tensor:
        self._entered()
        maps = self.pool(self.relu(self.norm(self.stem(inputs))))
        branch = self.block(maps)
        branch += maps
        maps = functional.relu(branch)
        logits: Tensor = self.head(self.dropout(maps).mean(dim=(2, 3)))
        return logits


class Entrance:
    """Counts the forward passes, and does something at each."""

    def __init__(self) -> None:
        self.count = 0
        self.action: Callable[[], None] = lambda: None

    def __call__(self) -> None:
        self.count += 1
        self.action()


class Broken(Exception):
    """What the model raises."""


class Cancelled(Exception):
    """What the report raises."""


@pytest.fixture
def entrance() -> Entrance:
    return Entrance()


@pytest.fixture
def model(entrance: Entrance) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = Residual(entrance)
    preprocessing = Preprocessing((3, 16, 16), None, (0.5,) * 3, (0.5,) * 3)
    return make_model(module, preprocessing, batch_size=4)


def image() -> Tensor:
    return torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))


def run(name: str, model: Model, given: Tensor, report: Report = ignore) -> list[Answer]:
    """Explains class 1 by a method as a worker does."""
    chosen = getattr(method_pb2.Method(), name)
    parameters.resolve(chosen)
    for field, value in SMALL.items():
        if field in chosen.DESCRIPTOR.fields_by_name:
            setattr(chosen, field, value)
    if "segmentation" in chosen.DESCRIPTOR.fields_by_name:
        grid = method_pb2.GridSegmentation(rows=3, columns=3)
        chosen.segmentation.CopyFrom(method_pb2.Segmentation(grid=grid))
    if name in PERTURBATION_METHODS:
        with torch.inference_mode():
            return PERTURBATION_METHODS[name].attribute(model, given, [1], chosen, 0, report)
    logit = float(model.logits(given[None])[0, 1])
    batch = Batch(given[None], torch.tensor([1]), [logit])
    return GRADIENT_METHODS[name].attribute(model, batch, chosen, 0)


def state(model: Model, given: Tensor) -> dict[str, Any]:
    """All that a method could leave something in."""
    found: dict[str, Any] = {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state(legacy=True)[1].tolist(),  # type: ignore[index]
        "python": random.getstate(),
        "input": (_tensor_state(given), given.requires_grad),
        "modes": len(torch.overrides._get_current_function_mode_stack()),
        "grad enabled": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }
    for name, hooks in vars(torch_module).items():
        if name.startswith("_global") and isinstance(hooks, dict):
            found[name] = dict(hooks)
    for name, module in model.module.named_modules():
        found[f"module {name}"] = (type(module), module.training)
        for attribute, value in vars(module).items():
            # What holds hooks, parameters, buffers and submodules are dictionaries.
            found[f"{name}.{attribute}"] = dict(value) if isinstance(value, dict) else value
    for name, tensor in [*model.module.named_parameters(), *model.module.named_buffers()]:
        found[f"tensor {name}"] = _tensor_state(tensor)
    return found


def _tensor_state(tensor: Tensor) -> tuple[Any, ...]:
    return (
        tensor.detach().numpy().tobytes(),
        tensor.requires_grad,
        tensor.grad,
        tensor._backward_hooks,
        tensor.grad_fn,
        sorted(vars(tensor)),
    )


@contextmanager
def nothing_left(model: Model, given: Tensor) -> Iterator[None]:
    before = state(model, given)
    yield
    after = state(model, given)
    assert after.keys() == before.keys()
    assert [name for name in before if not _same(before[name], after[name])] == []


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(one[key] is other[key] for key in one)
    return bool(one == other)


def failing_at(number: int) -> Callable[[], None]:
    """Raises at a pass of that number from now, from 1."""
    left = iter(range(number - 1, -1, -1))

    def fail() -> None:
        if next(left) == 0:
            raise Broken

    return fail


every_method = pytest.mark.parametrize("name", list(METHODS))


@every_method
def test_a_run_leaves_nothing(name: str, model: Model) -> None:
    given = image()
    with nothing_left(model, given):
        run(name, model, given)


@every_method
def test_a_forward_pass_that_fails_leaves_nothing(
    name: str, model: Model, entrance: Entrance
) -> None:
    given = image()
    entrance.count = 0
    run(name, model, given)
    passes = entrance.count
    for number in sorted({1, (passes + 1) // 2, passes}):
        entrance.action = failing_at(number)
        with nothing_left(model, given), pytest.raises(Broken):
            run(name, model, given)


@pytest.mark.parametrize("name", list(GRADIENT_METHODS))
def test_a_backward_pass_that_fails_leaves_nothing(name: str, model: Model) -> None:
    given = image()
    saved = 0
    failing = 0

    def save(tensor: Tensor) -> Tensor:
        return tensor

    def load(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += 1
        if saved == failing:
            raise Broken
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, load):
        run(name, model, given)
        loads, saved = saved, 0
        if loads == 0:
            pytest.skip("it has no backward pass")
        failing = (loads + 1) // 2
        with nothing_left(model, given), pytest.raises(Broken):
            run(name, model, given)


@pytest.mark.parametrize("name", list(PERTURBATION_METHODS))
def test_a_cancel_in_the_middle_leaves_nothing(name: str, model: Model) -> None:
    given = image()
    reports = 0

    def cancel(done: int, total: int, estimate: Estimate | None = None) -> None:
        nonlocal reports
        reports += 1
        if reports == 2:
            raise Cancelled

    with nothing_left(model, given), pytest.raises(Cancelled):
        run(name, model, given, cancel)


@pytest.mark.parametrize("other", [WITH_HOOKS, WITH_RULES])
@every_method
def test_two_methods_at_once_give_what_each_gives_alone(
    name: str, other: str, model: Model, entrance: Entrance
) -> None:
    """Both are within the model at the same time: the first pass of each waits for the other's."""
    given = image()
    alone = [in_a_thread(one, model, given) for one in (name, other)]
    entrance.action = meeting()
    with nothing_left(model, given), ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda one: values(one, model, given), (name, other)))
    for one, both in zip(alone, together, strict=True):
        np.testing.assert_array_equal(both, one)


def values(name: str, model: Model, given: Tensor) -> NDArray[np.float32]:
    (answer,) = run(name, model, given)
    return answer.values


def in_a_thread(name: str, model: Model, given: Tensor) -> NDArray[np.float32]:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(values, name, model, given).result()


def meeting() -> Callable[[], None]:
    """Makes the first four passes wait for one another, two by two, each of another thread."""
    met = threading.local()
    barrier = threading.Barrier(2)

    def meet() -> None:
        met.count = getattr(met, "count", 0) + 1
        # The first pass of a gradient method is that of its logits, before the method.
        if met.count <= 2:
            barrier.wait(DEADLINE_S)

    return meet
