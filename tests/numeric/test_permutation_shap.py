"""Permutation SHAP equals shap's PermutationExplainer, and knows how sure it is."""

import itertools

import numpy as np
import pytest
import shap
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.method import Answer, MethodError
from expound_worker.methods.permutation_shap import PermutationShap
from expound_worker.models.model import Model
from tests.numeric.models import Reports, ignore, plain_scores, resolved

METHOD = PermutationShap()


def grid(rows: int, columns: int) -> m.Segmentation:
    return m.Segmentation(grid=m.GridSegmentation(rows=rows, columns=columns))


def explained(
    model: Model,
    image: Tensor,
    parameters: m.PermutationShap,
    targets: list[int],
    seed: int = 0,
) -> list[Answer]:
    return METHOD.attribute(model, image, targets, resolved(parameters), seed, ignore)


def shap_values(
    model: Model, image: Tensor, answer: Answer, targets: list[int], n_samples: int, seed: int
) -> NDArray[np.float64]:
    """(M, T) values of shap's own explainer over masks as data, zero baseline."""
    assert answer.segments is not None and answer.weights is not None
    count = len(answer.weights)
    scores = plain_scores(model, image, torch.zeros_like(image), answer.segments, targets)
    masker = shap.maskers.Independent(np.zeros((1, count)))
    state = np.random.get_state()
    explainer = shap.PermutationExplainer(scores, masker, seed=seed)
    explanation = explainer(np.ones((1, count)), max_evals=n_samples, silent=True)
    np.random.set_state(state)
    values: NDArray[np.float64] = explanation.values[0]
    return values


@pytest.mark.parametrize(
    ("segmentation", "n_samples"),
    [(grid(2, 3), 100), (grid(3, 3), 19), (m.Segmentation(slic=m.SlicSegmentation()), 200)],
    ids=["many permutations", "one permutation", "slic"],
)
@pytest.mark.parametrize("seed", [0, 5])
def test_values_equal_shaps(
    segmentation: m.Segmentation, n_samples: int, seed: int, cifar: Model, thumbnail: Tensor
) -> None:
    parameters = m.PermutationShap(n_samples=n_samples, segmentation=segmentation)
    answers = explained(cifar, thumbnail, parameters, [6, 3], seed)
    expected = shap_values(cifar, thumbnail, answers[0], [6, 3], n_samples, seed)
    values = np.stack([np.asarray(answer.weights) for answer in answers], axis=1)
    assert np.allclose(values, expected, atol=1e-6, rtol=0)
    assert answers[0].evaluations <= n_samples


def test_values_come_to_the_shapley_values_within_their_standard_errors(
    cifar: Model, thumbnail: Tensor
) -> None:
    parameters = m.PermutationShap(n_samples=9 * 20, segmentation=grid(2, 2))
    answers = [explained(cifar, thumbnail, parameters, [6], seed)[0] for seed in range(40)]
    exact = shapley_values(cifar, thumbnail, answers[0])
    misses = np.array([answer.weights for answer in answers]) - exact
    errors = np.array([answer.standard_errors for answer in answers])
    assert 0.8 < np.sqrt((misses**2).mean() / (errors**2).mean()) < 1.25
    assert (np.abs(misses) < 2 * errors).mean() > 0.88
    assert (np.abs(misses.mean(axis=0)) < 4 * misses.std(axis=0) / np.sqrt(40)).all()


def shapley_values(model: Model, image: Tensor, answer: Answer) -> NDArray[np.float64]:
    """By all orders of the segments."""
    assert answer.segments is not None
    scores = plain_scores(model, image, torch.zeros_like(image), answer.segments, [6])
    masks = np.array(list(itertools.product([False, True], repeat=4)))
    score = dict(zip(map(tuple, masks.tolist()), scores(masks)[:, 0], strict=True))
    values = np.zeros(4)
    orders = list(itertools.permutations(range(4)))
    for order in orders:
        kept = [False] * 4
        for segment in order:
            before = score[tuple(kept)]
            kept[segment] = True
            values[segment] += (score[tuple(kept)] - before) / len(orders)
    return values


def test_few_permutations_have_errors_for_every_segment(cifar: Model, thumbnail: Tensor) -> None:
    parameters = m.PermutationShap(n_samples=9 * 4, segmentation=grid(2, 2))
    answers = [explained(cifar, thumbnail, parameters, [6], seed)[0] for seed in range(60)]
    known = [answer for answer in answers if answer.standard_errors is not None]
    misses = np.array([answer.weights for answer in known]) - shapley_values(
        cifar, thumbnail, known[0]
    )
    errors = np.array([answer.standard_errors for answer in known])
    assert len(known) > 50
    assert (errors > 0).all()
    assert (np.abs(misses) < 1.96 * errors).mean() > 0.93


def test_a_permutation_that_comes_again_or_reversed_does_not_end_a_run(
    cifar: Model, thumbnail: Tensor
) -> None:
    parameters = m.PermutationShap(n_samples=610, max_standard_error=0.001, segmentation=grid(2, 2))
    fewest = 2 + 3 * (2 * 4 - 2)
    for seed in (41, 51, 66, 124):  # whose first two are the same, or one is the other reversed
        (answer,) = explained(cifar, thumbnail, parameters, [6], seed)
        assert answer.evaluations >= fewest


@pytest.mark.parametrize("permutations", [1, 2])
def test_fewer_than_three_permutations_have_no_standard_errors(
    permutations: int, cifar: Model, thumbnail: Tensor
) -> None:
    parameters = m.PermutationShap(n_samples=17 * permutations, segmentation=grid(2, 4))
    (answer,) = explained(cifar, thumbnail, parameters, [6])
    assert answer.standard_errors is None
    assert answer.evaluations == 2 + permutations * (2 * 8 - 2)


def test_early_estimates_are_the_values_of_fewer_permutations(
    cifar: Model, thumbnail: Tensor
) -> None:
    reports = Reports()
    parameters = resolved(m.PermutationShap(n_samples=100, segmentation=grid(2, 3)))
    METHOD.attribute(cifar, thumbnail, [6], parameters, 0, reports)
    fewer = explained(
        cifar, thumbnail, m.PermutationShap(n_samples=13, segmentation=grid(2, 3)), [6]
    )
    first = next(estimate for estimate in reports.estimates if estimate is not None)
    assert np.allclose(np.asarray(first[0].weights), np.asarray(fewer[0].weights), atol=1e-7)
    assert first[0].convergence_delta == pytest.approx(0, abs=1e-12)


def test_budget_without_a_whole_permutation_is_refused(cifar: Model, thumbnail: Tensor) -> None:
    with pytest.raises(MethodError) as caught:
        explained(cifar, thumbnail, m.PermutationShap(n_samples=16, segmentation=grid(2, 4)), [6])
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "n_samples"
    assert "17" in caught.value.message
