"""Standard errors of Owen values say how far groups that are not divided yet may take them."""

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.method import Answer
from expound_worker.methods.partition_shap import PartitionShap
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.model import Model
from expound_worker.perturbation.hierarchy import halving_tree
from expound_worker.perturbation.owen import OwenValues
from expound_worker.perturbation.owen_errors import OwenErrors
from tests.numeric.models import Reports, cat, cifar_net, ignore, resolved, with_module

NETWORKS = 100
COUNT = 20
GRID = m.Segmentation(grid=m.GridSegmentation(rows=4, columns=5))
ALL = 10_000


def explained(model: Model, image: Tensor, targets: list[int], n_samples: int) -> list[Answer]:
    parameters = resolved(m.PartitionShap(n_samples=n_samples, segmentation=GRID))
    return PartitionShap().attribute(model, image, targets, parameters, 0, ignore)


@pytest.fixture(scope="module")
def questions() -> list[tuple[Model, Tensor, list[int]]]:
    """A hundred networks of random weights, a photo, and each network's class of it."""
    networks = [cifar_net(seed) for seed in range(NETWORKS)]
    whole = {"batch": BatchSize(256), "chunk": BatchSize(256)}
    models = [with_module(network, network.module, **whole) for network in networks]
    image = cat(models[0])
    return [(model, image, [int(model.logits(image[None]).argmax())]) for model in models]


@pytest.fixture(scope="module")
def complete(questions: list[tuple[Model, Tensor, list[int]]]) -> NDArray[np.float64]:
    """(networks, M) values with all groups divided."""
    return np.array([explained(*question, ALL)[0].weights for question in questions])


@pytest.mark.parametrize("n_samples", [10, 40, 80, 160])
def test_intervals_of_95_percent_hold_the_values_of_a_complete_run_as_often(
    n_samples: int,
    questions: list[tuple[Model, Tensor, list[int]]],
    complete: NDArray[np.float64],
) -> None:
    answers = [explained(*question, n_samples)[0] for question in questions]
    errors = np.array([answer.standard_errors for answer in answers])
    misses = np.array([answer.weights for answer in answers]) - complete
    sure = errors == 0
    assert np.allclose(misses[sure], 0, atol=1e-6)
    assert 0.90 <= np.mean(np.abs(misses[~sure]) < 1.96 * errors[~sure]) <= 0.99
    # And they are no larger than that takes.
    assert 0.5 < np.sqrt(np.mean(misses**2) / np.mean(errors**2)) < 1.1


def test_no_standard_error_is_left_where_all_groups_are_divided(
    cifar: Model, thumbnail: Tensor
) -> None:
    reports = Reports()
    parameters = resolved(m.PartitionShap(n_samples=ALL, segmentation=GRID))
    answers = PartitionShap().attribute(cifar, thumbnail, [6, 3], parameters, 0, reports)
    assert {answers[0].evaluations} == reports.totals
    for answer in answers:
        assert np.array_equal(np.asarray(answer.standard_errors), np.zeros(COUNT))
    assert all(error is None or error > 0 for error in reports.standard_errors[:-1])


def test_sure_segments_do_not_end_a_run_while_others_are_unsure(
    cifar: Model, thumbnail: Tensor
) -> None:
    parameters = resolved(m.PartitionShap(n_samples=ALL, segmentation=GRID))
    parameters.max_standard_error = 1e-9
    reports = Reports()
    answer = PartitionShap().attribute(cifar, thumbnail, [6], parameters, 0, reports)[0]
    seen = [estimate[0].standard_errors for estimate in reports.estimates if estimate]
    assert any(errors is not None and 0 == errors.min() < errors.max() for errors in seen)
    assert {answer.evaluations} == reports.totals and answer.warnings == []


def test_standard_errors_of_a_target_are_its_own(cifar: Model, thumbnail: Tensor) -> None:
    """The groups are chosen for all targets together: so the same are chosen for twins."""
    both = explained(cifar, thumbnail, [6, 6], 40)
    alone = explained(cifar, thumbnail, [6], 40)[0]
    for answer in both:
        assert np.allclose(np.asarray(answer.standard_errors), np.asarray(alone.standard_errors))
    other = explained(cifar, thumbnail, [6, 3], 40)[1]
    assert not np.allclose(np.asarray(other.standard_errors), np.asarray(alone.standard_errors))


def divided(values: NDArray[np.float64], rounds: int) -> OwenValues:
    """Owen values of the game that adds up the (M,) values, after some pairs of evaluations."""
    linkage = halving_tree(np.arange(len(values), dtype=np.int32)[None])
    owen = OwenValues(linkage, np.array([[0.0], [values.sum()]]), 0)
    for _ in range(rounds):
        owen.add(owen.next_masks(2) @ values[:, None])
    return owen


def test_there_are_none_before_anything_is_divided() -> None:
    assert divided(np.arange(8.0), 0).standard_errors() is None
    assert divided(np.arange(8.0), 1).standard_errors() is not None


def test_standard_errors_are_in_units_of_the_score() -> None:
    values = np.random.default_rng(0).standard_normal(16)
    once, thousandfold = (divided(scale * values, 10).standard_errors() for scale in (1, 1000))
    assert once is not None and thousandfold is not None
    assert np.allclose(thousandfold, 1000 * once)


def test_contexts_that_agree_are_trusted_as_they_do() -> None:
    """In games that add up they are all alike, which is seen where a group has several."""
    within = []
    for seed in range(100):
        values = np.random.default_rng(seed).standard_normal(36)
        owen = divided(values, 150)
        errors = owen.standard_errors()
        assert errors is not None
        misses = np.abs(owen.values()[:, 0] - values)
        within.append(misses[errors[:, 0] > 0] < 1.96 * errors[errors > 0])
    assert 0.92 < np.concatenate(within).mean() < 0.98


def test_share_that_contexts_have_in_common_is_that_of_groups_with_several() -> None:
    """By hand: of two pairs, one is divided in both contexts, and its excesses are 3 and 1."""
    errors = OwenErrors(halving_tree(np.arange(4, dtype=np.int32)[None]), 1)
    nothing = np.zeros(1)
    errors.add(2, np.ones(1), nothing)
    for excess in (3, 1):
        errors.add(0, np.sqrt([excess**2 / 2]), nothing)
    variance = (1 + (3**2 + 1**2) / 2) / 2  # mean square of two groups
    common = (8 * 0.6 * variance + 3 * 1) / (8 * variance + (3**2 + 1**2) / 2)
    expected = np.sqrt(variance * (common + (1 - common) / 2) / 2)
    student = 4.302653 / 1.959964  # of two groups
    found = errors()
    assert found is not None
    assert np.sort(found[:, 0]) == pytest.approx(np.repeat([0, expected * student], 2))


def test_contexts_that_contradict_one_another_leave_errors_that_are_numbers() -> None:
    linkage = halving_tree(np.arange(64, dtype=np.int32)[None])
    errors = OwenErrors(linkage, 1)
    for row in range(1, len(linkage)):
        for excess in (1, -1):
            errors.add(row, np.array([float(excess)]), np.zeros(1))
    found = errors()
    assert found is not None and np.isfinite(found).all() and found.max() > 0


def test_after_one_division_they_are_those_of_independent_segments() -> None:
    """By hand: five segments, two of them in the first half and three in the second."""
    errors = divided(np.array([1.0, 14.0, 0.0, 0.0, 0.0]), 1).standard_errors()
    variance = (15 - 2 / 5 * 15) ** 2 / (2 * 3 / 5)  # of a segment, with such a sum of two of five
    # The halves divide in two contexts, and the last pair in four; 0.6 is common to all.
    two, four = 0.6 + 0.4 / 2, 0.6 + 0.4 / 4
    variances = variance * np.array(
        [two / 2, two / 2, two * 2 / 3, two / (3 * 2) + four / 2, two / (3 * 2) + four / 2]
    )
    student = 12.706205 / 1.959964  # of one group
    assert errors is not None
    assert errors[:, 0] == pytest.approx(np.sqrt(variances) * student)
