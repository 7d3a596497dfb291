"""RISE equals a literal implementation of the paper, and knows how sure it is."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.method import Answer, MethodError
from expound_worker.methods.rise import Rise
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baseline
from tests.numeric.models import Reports, ignore, resolved, with_module

METHOD = Rise()


def explained(
    model: Model, image: Tensor, parameters: m.Rise, targets: list[int], seed: int = 0
) -> list[Answer]:
    return METHOD.attribute(model, image, targets, resolved(parameters), seed, ignore)


def smooth_masks(
    n_samples: int, grid_size: int, keep_probability: float, length: int, seed: int
) -> NDArray[np.float64]:
    """(N, H, W) masks by the documented draw, each made pixel by pixel."""
    random = np.random.default_rng(seed)
    uniform = random.random((n_samples, grid_size**2), dtype=np.float32)
    cell = math.ceil(length / grid_size)
    shifts = random.integers((cell, cell), size=(n_samples, 2))
    masks = []
    for number in range(n_samples):
        grid = (uniform[number] < keep_probability).astype(float).reshape(grid_size, grid_size)
        rows, columns = (
            enlargement(length, grid_size, (grid_size + 1) * cell, int(shift))
            for shift in shifts[number]
        )
        masks.append(rows @ grid @ columns.T)
    return np.array(masks)


def enlargement(length: int, cells: int, size: int, shift: int) -> NDArray[np.float64]:
    """(length, cells) weights of bilinear interpolation to `size`, from pixel `shift` on."""
    weights = np.zeros((length, cells))
    for pixel in range(length):
        place = min(max((pixel + shift + 0.5) * cells / size - 0.5, 0), cells - 1)
        lower = min(int(place), cells - 2)
        weights[pixel, lower : lower + 2] = 1 - (place - lower), place - lower
    return weights


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize(
    ("grid_size", "keep_probability", "baseline"),
    [
        (7, 0.5, m.Baseline(zero=m.ZeroBaseline())),
        (4, 0.2, m.Baseline(color=m.ColorBaseline())),
        (2, 0.9, m.Baseline(blur=m.BlurBaseline(sigma=3))),
    ],
)
def test_values_equal_those_of_the_paper_for_the_same_masks(
    grid_size: int,
    keep_probability: float,
    baseline: m.Baseline,
    batch_size: int,
    cifar: Model,
    thumbnail: Tensor,
) -> None:
    parameters = m.Rise(
        n_samples=50, grid_size=grid_size, keep_probability=keep_probability, baseline=baseline
    )
    model = dataclasses.replace(cifar, batch=BatchSize(batch_size))
    answers = explained(model, thumbnail, parameters, [6, 3], seed=4)
    masks = smooth_masks(50, grid_size, keep_probability, 32, seed=4)
    filler = make_baseline(baseline, cifar.preprocessing, thumbnail, 4)
    for answer, target in zip(answers, [6, 3], strict=True):
        terms = []
        for mask in masks:
            kept = torch.from_numpy(mask).float()
            composite = kept * thumbnail + (1 - kept) * filler
            score = float(cifar.logits(composite[None]).double().softmax(1)[0, target])
            terms.append(mask * score / keep_probability)
        assert np.allclose(answer.values, np.mean(terms, axis=0), atol=1e-5)
        errors = np.std(terms, axis=0, ddof=1) / np.sqrt(50)
        assert answer.standard_error == pytest.approx(errors.max(), rel=1e-4)
        assert answer.evaluations == 51
        assert answer.output == pytest.approx(
            float(cifar.logits(thumbnail[None]).softmax(1)[0, target]), abs=1e-5
        )


def test_pixel_by_pixel_masks_are_torchs_bilinear_enlargement() -> None:
    grid = torch.rand(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = enlargement(30, 5, 42, 4)
    enlarged = functional.interpolate(grid[None, None], (42, 42), mode="bilinear")[0, 0]
    assert np.allclose(weights @ grid.numpy() @ weights.T, enlarged[4:34, 4:34])


def test_map_is_off_by_as_much_as_its_standard_error_says(cifar: Model, thumbnail: Tensor) -> None:
    parameters = m.Rise(n_samples=200, grid_size=4)
    answers = [explained(cifar, thumbnail, parameters, [6], seed)[0] for seed in range(12)]
    spread = np.std([answer.values for answer in answers], axis=0, ddof=1)
    errors = np.array([answer.standard_error for answer in answers], dtype=float)
    assert np.ptp(errors) < 0.5 * errors.mean()
    assert 0.7 * spread.max() < errors.mean() < 1.5 * spread.max()


def test_pixels_that_the_model_looks_at_stand_out(cifar: Model) -> None:
    class Corner(torch.nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            seen = inputs[:, :, 20:28, 4:12].mean(dim=(1, 2, 3))
            return torch.stack([4 * seen, -4 * seen], dim=1)

    model = with_module(cifar, Corner())
    (answer,) = explained(model, torch.ones(3, 32, 32), m.Rise(n_samples=1000), [0])
    row, column = np.unravel_index(answer.values.argmax(), (32, 32))
    assert 20 <= row < 28 and 4 <= column < 12


def test_a_model_that_gives_one_score_is_warned_of(cifar: Model, thumbnail: Tensor) -> None:
    class Constant(torch.nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.tensor([1.0, 2.0]).expand(len(inputs), 2)

    (answer,) = explained(with_module(cifar, Constant()), thumbnail, m.Rise(n_samples=50), [0])
    assert "same score whatever is hidden" in answer.warnings[0]
    (answer,) = explained(cifar, thumbnail, m.Rise(n_samples=50), [0])
    assert answer.warnings == []


def test_early_estimates_are_means_over_cells_and_come_with_a_standard_error(
    cifar: Model, thumbnail: Tensor
) -> None:
    reports = Reports()
    parameters = resolved(m.Rise(n_samples=100, grid_size=4))
    (answer,) = METHOD.attribute(cifar, thumbnail, [6], parameters, 0, reports)
    assert reports.totals == {101}
    assert reports.standard_errors[-1] == pytest.approx(answer.standard_error)
    last = reports.estimates[-1]
    assert last is not None and last[0].weights is not None
    means = answer.values.reshape(8, 4, 8, 4).mean(axis=(1, 3))
    assert np.allclose(last[0].weights, means.ravel(), rtol=1e-5)
    assert answer.segments is None and answer.weights is None


def test_images_smaller_than_the_grid_are_explained(cifar: Model, thumbnail: Tensor) -> None:
    (answer,) = explained(cifar, thumbnail, m.Rise(n_samples=20, grid_size=40), [6])
    assert np.isfinite(answer.values).all()
    assert len(np.unique(answer.values)) > 100


def test_plan_that_memory_could_not_hold_is_refused(cifar: Model, thumbnail: Tensor) -> None:
    with pytest.raises(MethodError) as caught:
        explained(cifar, thumbnail, m.Rise(n_samples=100_000, grid_size=64), [6])
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "n_samples"
