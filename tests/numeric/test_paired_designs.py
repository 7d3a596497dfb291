"""Designs of paired coalitions: no pair twice, and balanced as they say."""

import tracemalloc
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from expound_worker.perturbation.paired_designs import (
    leverage_pairs,
    orthogonal_pairs,
    pair_count,
    pairs_of_size,
)

Design = Callable[[int, int, int], NDArray[np.bool_]]
both_designs = pytest.mark.parametrize("design", [leverage_pairs, orthogonal_pairs])


@both_designs
@pytest.mark.parametrize("segment_count", [4, 5, 9, 10, 15, 16, 26, 70])
@pytest.mark.parametrize("count", [5, 100, 300])
def test_no_pair_comes_twice_and_none_holds_the_whole_image(
    design: Design, segment_count: int, count: int
) -> None:
    masks = design(count, segment_count, 3)
    assert masks.shape == (min(count, pair_count(segment_count)), segment_count)
    both = np.concatenate([masks, ~masks])
    assert len(np.unique(both, axis=0)) == len(both)
    assert both.sum(axis=1).min() > 0 and both.sum(axis=1).max() < segment_count


@both_designs
def test_enough_pairs_are_all_there_are(design: Design) -> None:
    masks = design(10_000, 9, 0)
    assert len(masks) == pair_count(9) == 2**8 - 1


@both_designs
def test_a_seed_gives_one_design_and_another_seed_another(design: Design) -> None:
    assert np.array_equal(design(100, 20, 1), design(100, 20, 1))
    assert not np.array_equal(design(100, 20, 1), design(100, 20, 2))


@both_designs
@pytest.mark.parametrize("segment_count", [20, 31, 32])
def test_any_two_segments_of_an_array_are_kept_together_as_often_as_not(
    design: Design, segment_count: int
) -> None:
    rows = 32 if segment_count < 32 else 64
    signs = np.where(design(rows, segment_count, 0), 1, -1)
    assert np.array_equal(signs.T @ signs, rows * np.eye(segment_count))
    assert np.array_equal(signs.sum(axis=0), np.zeros(segment_count))


@pytest.mark.parametrize(("count", "most"), [(64, 245), (128, 110), (256, 45)])
def test_few_quadruples_of_segments_are_confounded(count: int, most: int) -> None:
    """Arrays drawn one by one, or doubled by chance, confound C(26, 4) / count: 234, 117 and 58."""
    signs = np.where(orthogonal_pairs(count, 26, 0), 1.0, -1.0)
    products = np.stack([signs[:, a] * signs[:, b] for a, b in combinations(range(26), 2)])
    alike = np.triu(products @ products.T / count, 1)  # of two pairs with one segment: 0
    assert (alike**2).sum() / 3 <= most


def test_every_row_of_an_array_is_uniform_over_the_masks() -> None:
    masks = np.concatenate([orthogonal_pairs(5, 12, seed) for seed in range(800)])
    sizes = np.bincount(masks.sum(axis=1), minlength=13) / len(masks)
    expected = np.array([1, 12, 66, 220, 495, 792, 924, 792, 495, 220, 66, 12, 1]) / 2**12
    assert np.abs(sizes - expected).max() < 0.02


@pytest.mark.parametrize("count", [60, 200])
def test_sizes_come_in_proportion_behind_the_arrays(count: int) -> None:
    sizes = leverage_pairs(64 + count, 26, 0)[64:].sum(axis=1)
    expected = np.array([count / 12.5] * 12 + [count / 25])
    assert np.abs(np.bincount(sizes, minlength=14)[1:] - expected).max() <= 3


def test_a_size_of_which_no_pair_is_left_gives_its_turn_to_others() -> None:
    masks = leverage_pairs(500, 10, 0)
    lesser = np.minimum(masks.sum(axis=1), 10 - masks.sum(axis=1))
    counts = np.bincount(lesser, minlength=6)
    assert np.all(counts <= pairs_of_size(10))
    assert counts[1] == 10 and counts[2] == 45
    assert counts.sum() == 500


def test_pairs_are_drawn_of_more_masks_than_a_float_can_count() -> None:
    masks = leverage_pairs(2100, 1031, 0)
    assert masks.shape == (2100, 1031)
    assert len(np.unique(masks, axis=0)) == 2100
    assert np.isfinite(pairs_of_size(2000)).all()


@both_designs
def test_few_pairs_of_many_segments_take_little_memory(design: Design) -> None:
    tracemalloc.start()
    try:
        design(5, 4096, 0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8e6  # all rows of an array took 335 MB
