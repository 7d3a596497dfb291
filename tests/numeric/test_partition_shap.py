"""Partition SHAP equals shap, and its values are Owen's."""

import numpy as np
import pytest
import shap
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.method import Answer
from expound_worker.methods.partition_shap import PartitionShap
from expound_worker.models.model import Model
from expound_worker.perturbation.hierarchy import halving_tree
from expound_worker.perturbation.owen import OwenValues
from tests.numeric.models import Reports, ignore, plain_scores, resolved


def grid(rows: int, columns: int) -> m.Segmentation:
    return m.Segmentation(grid=m.GridSegmentation(rows=rows, columns=columns))


def explained(
    model: Model, image: Tensor, parameters: m.PartitionShap, targets: list[int], seed: int = 0
) -> list[Answer]:
    return PartitionShap().attribute(model, image, targets, resolved(parameters), seed, ignore)


class CompositeMasker(shap.maskers.Masker):  # type: ignore[misc]  # shap has no types
    """Makes each composite of a mask pixel by pixel, as a user of shap would."""

    def __init__(self, image: NDArray[np.float32], segments: NDArray[np.int32]) -> None:
        self.segments = segments
        self.clustering = halving_tree(segments)
        self.shape = (1, len(self.clustering) + 1)

    def __call__(
        self, mask: NDArray[np.bool_], image: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32]]:
        return ((image * mask[self.segments])[np.newaxis],)

    def mask_shapes(self, *_: object) -> list[tuple[int, ...]]:
        return [(self.shape[1],)]


def shap_values(
    model: Model, image: Tensor, answer: Answer, targets: list[int], n_samples: int, seed: int
) -> NDArray[np.float64]:
    """(M, T) values of shap's PartitionExplainer on images, zero baseline."""
    assert answer.segments is not None

    def classify(images: NDArray[np.float32]) -> NDArray[np.float64]:
        logits = model.logits(torch.from_numpy(images.astype(np.float32)))
        probabilities: NDArray[np.float64] = logits.double().softmax(dim=1)[:, targets].numpy()
        return probabilities

    explainer = shap.PartitionExplainer(classify, CompositeMasker(image.numpy(), answer.segments))
    state = np.random.get_state()
    np.random.seed(seed)
    explanation = explainer(
        image[None].numpy(),
        max_evals=n_samples,
        batch_size=max(10, n_samples // 8),
        silent=True,
    )
    np.random.set_state(state)
    values: NDArray[np.float64] = explanation.values[0]
    return values


@pytest.mark.parametrize(
    ("segmentation", "n_samples"),
    [(None, 200), (m.Segmentation(slic=m.SlicSegmentation()), 60), (grid(2, 3), 500)],
    ids=["finest grid", "slic", "all"],
)
def test_values_equal_shaps_on_the_cifar_network(
    segmentation: m.Segmentation | None, n_samples: int, cifar: Model, thumbnail: Tensor
) -> None:
    parameters = m.PartitionShap(n_samples=n_samples, segmentation=segmentation)
    for seed in (0, 5):
        answers = explained(cifar, thumbnail, parameters, [6, 3], seed)
        expected = shap_values(cifar, thumbnail, answers[0], [6, 3], n_samples, seed)
        values = np.stack([np.asarray(answer.weights) for answer in answers], axis=1)
        assert np.allclose(values, expected, atol=1e-6, rtol=0)


def test_values_equal_shaps_on_efficientnet(efficientnet: Model, photo: Tensor) -> None:
    target = int(efficientnet.logits(photo[None]).argmax())
    answer = explained(efficientnet, photo, m.PartitionShap(n_samples=64), [target])[0]
    expected = shap_values(efficientnet, photo, answer, [target], 64, seed=0)[:, 0]
    assert answer.weights is not None
    assert len(answer.weights) == 32 * 32
    assert np.allclose(
        np.asarray(answer.weights), expected, atol=1e-5 * abs(expected).max(), rtol=0
    )


@pytest.mark.parametrize("n_samples", [10, 11, 100, 333])
def test_values_sum_to_the_score_minus_that_of_the_baseline_within_the_budget(
    n_samples: int, cifar: Model, thumbnail: Tensor
) -> None:
    answers = explained(cifar, thumbnail, m.PartitionShap(n_samples=n_samples), [6, 3])
    for answer in answers:
        assert answer.weights is not None and answer.baseline_output is not None
        assert answer.weights.sum() == pytest.approx(answer.output - answer.baseline_output)
        assert answer.convergence_delta == pytest.approx(0, abs=1e-12)
        assert n_samples - 1 <= answer.evaluations <= n_samples


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 2), (2, 4)])
def test_enough_evaluations_give_owen_values(
    rows: int, columns: int, cifar: Model, thumbnail: Tensor
) -> None:
    parameters = resolved(m.PartitionShap(n_samples=10_000, segmentation=grid(rows, columns)))
    reports = Reports()
    answer = PartitionShap().attribute(cifar, thumbnail, [6], parameters, 0, reports)[0]
    assert answer.segments is not None
    assert reports.totals == {answer.evaluations}  # the hierarchy is exhausted, as was foreseen
    scores = plain_scores(cifar, thumbnail, torch.zeros(3, 32, 32), answer.segments, [6])
    expected = owen_values(scores, halving_tree(answer.segments))
    assert np.allclose(np.asarray(answer.weights), expected, atol=1e-6, rtol=0)


def owen_values(scores: object, linkage: NDArray[np.float64]) -> NDArray[np.float64]:
    """A group's value, divided between its halves with and without the other half present."""
    assert callable(scores)
    count = len(linkage) + 1
    values = np.zeros(count)

    def members(node: int) -> frozenset[int]:
        if node < count:
            return frozenset([node])
        left, right = linkage[node - count, :2].astype(int)
        return members(left) | members(right)

    def score(kept: frozenset[int]) -> float:
        return float(scores(np.isin(np.arange(count), list(kept))[None])[0, 0])

    def divide(node: int, context: frozenset[int], weight: float) -> None:
        if node < count:
            values[node] += weight * (score(context | {node}) - score(context))
            return
        left, right = linkage[node - count, :2].astype(int)
        for half, other in ((left, right), (right, left)):
            divide(half, context, weight / 2)
            divide(half, context | members(other), weight / 2)

    divide(2 * count - 2, frozenset(), 1.0)
    return values


def test_estimate_is_what_a_smaller_budget_would_have_given(
    cifar: Model, thumbnail: Tensor
) -> None:
    reports = Reports()
    parameters = resolved(m.PartitionShap(n_samples=80))
    PartitionShap().attribute(cifar, thumbnail, [6, 3], parameters, 0, reports)
    compared = 0
    for done, estimate in zip(reports.done, reports.estimates, strict=True):
        if estimate is not None and 10 <= done < 80:
            smaller = explained(cifar, thumbnail, m.PartitionShap(n_samples=done), [6, 3])
            for early, alone in zip(estimate, smaller, strict=True):
                assert np.allclose(np.asarray(early.weights), np.asarray(alone.weights), atol=1e-6)
            compared += 1
    assert compared >= 3


def test_scores_that_come_one_by_one_give_the_same_values() -> None:
    random = np.random.default_rng(0)
    linkage = halving_tree(np.arange(12, dtype=np.int32).reshape(3, 4))
    scores: dict[bytes, NDArray[np.float64]] = {}

    def score(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        return scores.setdefault(mask.tobytes(), random.random(2))

    ends = np.array([score(np.zeros(12, dtype=bool)), score(np.ones(12, dtype=bool))])
    together, apart = OwenValues(linkage, ends, 0), OwenValues(linkage, ends, 0)
    for _ in range(4):
        masks = together.next_masks(7)
        assert (apart.next_masks(7) == masks).all()
        together.add(np.array([score(mask) for mask in masks]))
        for mask in masks:
            apart.add(score(mask)[None])
            assert np.allclose(apart.values().sum(axis=0), ends[1] - ends[0])
    assert len(scores) == 2 + 2 + 8 + 8 + 8
    assert (apart.values() == together.values()).all()


def test_evaluations_are_spent_where_the_score_changes(cifar: Model) -> None:
    image = torch.zeros(3, 32, 32)
    image[:, 8:16, 8:16] = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    answer = explained(cifar, image, m.PartitionShap(n_samples=400), [6])[0]
    inside = np.zeros((32, 32), dtype=bool)
    inside[8:16, 8:16] = True
    assert np.allclose(answer.values[~inside], 0, atol=1e-7)
    assert len(np.unique(answer.values[inside])) >= 4
