"""Standard errors are honest: over 100 seeds, 95 % intervals hold the long-run value that often."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expound.v1 import method_pb2 as m
from expound_worker.methods.kernel_shap import KernelShap
from expound_worker.methods.lime import Lime
from expound_worker.methods.method import Answer
from expound_worker.methods.permutation_shap import PermutationShap
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.model import Model
from expound_worker.perturbation.engine import Scorer, prepare
from expound_worker.perturbation.functionals import Functional, lime_slopes, shapley_values
from tests.numeric.games import all_masks
from tests.numeric.models import cat, ignore, resolved, with_module

SEEDS = 100
GRID = m.Segmentation(grid=m.GridSegmentation(rows=3, columns=4))
COUNT = 12
Parameters = m.KernelShap | m.Lime | m.PermutationShap


class Table(nn.Module):
    """A network whose scores of all composites are known, looked up by a pixel of each segment."""

    def __init__(self, scores: NDArray[np.float64], segments: NDArray[np.int32]) -> None:
        super().__init__()
        pixels = np.unique(segments, return_index=True)[1]
        self.pixels = torch.from_numpy(pixels)
        self.logits = torch.from_numpy(np.log(np.column_stack([scores, 1 - scores])))

    def forward(self, inputs: Tensor) -> Tensor:
        kept = (inputs[:, 0].flatten(1)[:, self.pixels] != 0).long()
        return self.logits[(kept << torch.arange(COUNT)).sum(dim=1)]


@pytest.fixture(scope="module")
def scorer(cifar: Model) -> Scorer:
    """Of the composites of a photo for the CIFAR network."""
    parameters = resolved(m.KernelShap(segmentation=GRID))
    return prepare(cifar, cat(cifar), [6], parameters.segmentation, parameters.baseline, 0)


@pytest.fixture(scope="module")
def scores(scorer: Scorer) -> NDArray[np.float64]:
    """(2^M,) of all coalitions."""
    return np.concatenate(list(scorer.batches(all_masks(COUNT))))[:, 0]


@pytest.fixture(scope="module")
def model(cifar: Model, scorer: Scorer, scores: NDArray[np.float64]) -> Model:
    """The CIFAR network, as far as this photo goes."""
    table = Table(scores, scorer.segments)
    return with_module(cifar, table, batch=BatchSize(256), chunk=BatchSize(256))


def long_run(functional: Functional, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) weights by the (2^M,) scores of all coalitions."""
    masks = all_masks(COUNT)
    sizes = masks.sum(axis=1)
    shares = functional.shares(masks) / np.bincount(sizes)[sizes, None]
    weights: NDArray[np.float64] = shares.T @ scores
    return weights


def explained(model: Model, parameters: Parameters, seed: int) -> Answer:
    image = torch.ones(3, 32, 32)
    match parameters:
        case m.KernelShap():
            return KernelShap().attribute(model, image, [0], parameters, seed, ignore)[0]
        case m.Lime():
            return Lime().attribute(model, image, [0], parameters, seed, ignore)[0]
        case m.PermutationShap():
            return PermutationShap().attribute(model, image, [0], parameters, seed, ignore)[0]


@pytest.mark.parametrize(
    "parameters",
    [
        m.KernelShap(n_samples=60),
        m.KernelShap(n_samples=250),
        m.KernelShap(n_samples=250, sampling=m.KernelShap.SAMPLING_SHAP),
        m.PermutationShap(n_samples=75),
        m.PermutationShap(n_samples=250),
        m.Lime(n_samples=60),
        m.Lime(n_samples=250),
        m.Lime(n_samples=250, sampling=m.Lime.SAMPLING_LIME),
    ],
    ids=lambda parameters: f"{parameters.DESCRIPTOR.name} {' '.join(str(parameters).split())}",
)
def test_intervals_of_95_percent_hold_the_long_run_value_as_often(
    parameters: Parameters, model: Model, scores: NDArray[np.float64]
) -> None:
    functional = lime_slopes(COUNT, 0.25) if isinstance(parameters, m.Lime) else None
    expected = long_run(functional or shapley_values(COUNT), scores)
    asked = resolved(parameters)
    asked.segmentation.CopyFrom(GRID)
    answers = [explained(model, asked, seed) for seed in range(SEEDS)]
    weights = np.array([answer.weights for answer in answers])
    errors = np.array([answer.standard_errors for answer in answers])
    assert 0.90 <= np.mean(np.abs(weights - expected) < 1.96 * errors) <= 0.99


def test_no_standard_error_is_left_where_all_coalitions_are_evaluated(
    model: Model, scores: NDArray[np.float64]
) -> None:
    for parameters, functional in (
        (m.KernelShap(n_samples=5000), shapley_values(COUNT)),
        (m.Lime(n_samples=5000), lime_slopes(COUNT, 0.25)),
    ):
        asked = resolved(parameters)
        asked.segmentation.CopyFrom(GRID)
        answer = explained(model, asked, 0)
        assert answer.evaluations == 2**COUNT
        assert np.allclose(np.asarray(answer.weights), long_run(functional, scores), atol=1e-9)
        assert np.array_equal(np.asarray(answer.standard_errors), np.zeros(COUNT))
