"""Designs of paired coalitions: each mask is evaluated together with its complement.

A weight's even part, ``f(z) + f(not z)``, and its odd part, ``f(z) - f(not z)``, are then known
apart, and interactions of two segments cannot pass for the effect of one (Box and Wilson, 1951:
foldover; Covert and Lee, 2021, for Shapley values). No pair comes twice, and none holds the whole
image.
"""

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from expound_worker.perturbation.orthogonal_array import orthogonal_array

_COUNTED = 10**300
"""Near the largest float; no plan holds as many."""
_GOLDEN = (5**0.5 - 1) / 2


def pair_count(segment_count: int) -> int:
    """Number of pairs there are, without that of the image and the baseline."""
    return int(2 ** (segment_count - 1) - 1)


def orthogonal_pairs(count: int, segment_count: int, seed: int) -> NDArray[np.bool_]:
    """Draws pairs for masks in which every segment is kept with probability 1/2.

    Rows of orthogonal arrays (`orthogonal_array`), so that the weights' estimates disturb one
    another as little as they can.

    Args:
        count: number of pairs wanted.
        segment_count: M.
        seed: seed of the draw.

    Returns:
        (n, M) one mask of each pair, n the lesser of `count` and of all there are.
    """
    random = np.random.default_rng(seed)
    if pair_count(segment_count) <= 2 * count:
        return random.permutation(_all_pairs(segment_count))[:count]
    design = _Design(segment_count)
    while design.count < count:
        design.fill(orthogonal_array(count, segment_count, random), count)
    return design.masks[:count]


def leverage_pairs(count: int, segment_count: int, seed: int) -> NDArray[np.bool_]:
    """Draws pairs for Shapley values: an orthogonal array first, and then by leverage scores.

    The leverage of a coalition in Shapley's regression is ``1 / binom(M, |z|)``: every size counts
    the same (Musco and Witter, 2025, "Provably Accurate Shapley Value Estimation via Leverage Score
    Sampling"). Sizes follow one another by the golden ratio, so that any first part of the plan has
    all of them in proportion; within a size, masks are drawn without replacement. The array before
    them finds what each segment does among half of the others, in the fewest evaluations there are.

    Args:
        count: number of pairs wanted.
        segment_count: M.
        seed: seed of the draw.

    Returns:
        (n, M) one mask of each pair, n the lesser of `count` and of all there are.
    """
    random = np.random.default_rng(seed)
    if pair_count(segment_count) <= count:
        return random.permutation(_all_pairs(segment_count))
    design = _Design(segment_count)
    design.fill(orthogonal_array(2 * (segment_count + 1), segment_count, random), count)
    masks = design.masks[:count]
    sizes = _sizes(count - len(masks), segment_count, _left(masks), random)
    drawn = np.empty((len(sizes), segment_count), dtype=bool)
    for size in np.unique(sizes):
        here = sizes == size
        drawn[here] = _draw(int(here.sum()), int(size), masks, random)
    return np.concatenate([masks, drawn])


class _Design:
    """Masks that grow by those whose pair is not among them."""

    def __init__(self, segment_count: int) -> None:
        self._known = {b"\0" * segment_count}
        self._rows: list[NDArray[np.bool_]] = []
        self._segment_count = segment_count

    @property
    def count(self) -> int:
        return len(self._rows)

    @property
    def masks(self) -> NDArray[np.bool_]:
        return np.array(self._rows, dtype=bool).reshape(-1, self._segment_count)

    def add(self, masks: NDArray[np.bool_]) -> None:
        for mask, key in zip(masks, _lesser_of_pair(masks), strict=True):
            if key.tobytes() not in self._known:
                self._known.add(key.tobytes())
                self._rows.append(mask)

    def fill(self, array: Iterator[NDArray[np.bool_]], count: int) -> None:
        """Adds the rows of an array until there are `count` masks, or no more rows."""
        while self.count < count and (rows := next(array, None)) is not None:
            self.add(rows)


def _lesser_of_pair(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask of each pair that is written once: the smaller one, without segment 0 if equal."""
    twice = 2 * masks.sum(axis=1)
    larger = (twice > masks.shape[1]) | ((twice == masks.shape[1]) & masks[:, 0])
    lesser: NDArray[np.bool_] = masks ^ larger[:, None]
    return lesser


def _all_pairs(segment_count: int) -> NDArray[np.bool_]:
    """(2^(M-1) - 1, M) one mask of each pair."""
    numbers = np.arange(1, 2 ** (segment_count - 1))[:, None]
    pairs: NDArray[np.bool_] = (numbers >> np.arange(segment_count)) & 1 == 1
    return pairs


def lesser_sizes(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) size of the lesser mask of each pair, of which one mask is given."""
    sizes = masks.sum(axis=1)
    lesser: NDArray[np.int64] = np.minimum(sizes, masks.shape[1] - sizes)
    return lesser


def pairs_of_size(segment_count: int) -> NDArray[np.float64]:
    """(M // 2 + 1,) number of pairs by the size of the lesser mask; 1e300 where there are more."""
    counts = [min(comb(segment_count, size), _COUNTED) for size in range(segment_count // 2 + 1)]
    pairs = np.array(counts, dtype=np.float64)
    if segment_count % 2 == 0:
        pairs[-1] /= 2  # its complement is of the same size
    return pairs


def _left(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(M // 2 + 1,) number of pairs of each size that are not among the masks; none of size 0."""
    total = pairs_of_size(masks.shape[1])
    left = total - np.bincount(lesser_sizes(masks), minlength=len(total))
    left[0] = 0
    return left


def _sizes(
    count: int, segment_count: int, left: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.int64]:
    """(count,) sizes of the lesser masks in turn, none more often than there are pairs left of it.

    What a size cannot give goes to the next larger one, and in the end to the smaller ones.
    """
    shares = np.ones(segment_count // 2)
    if segment_count % 2 == 0:
        shares[-1] = 1 / 2  # its complement is of the same size
    places = (random.random() + _GOLDEN * np.arange(count)) % 1
    sizes = 1 + np.searchsorted(np.cumsum(shares / shares.sum())[:-1], places, side="right")
    largest = len(shares)
    for size, towards in [(k, 1) for k in range(1, largest)] + [
        (k, -1) for k in range(largest, 1, -1)
    ]:
        here = np.flatnonzero(sizes == size)
        sizes[here[int(min(left[size], len(here))) :]] += towards
    return sizes


def _draw(
    count: int, size: int, others: NDArray[np.bool_], random: np.random.Generator
) -> NDArray[np.bool_]:
    """(count, M) masks of one size, none of them twice, and none that is in a pair of `others`."""
    segment_count = others.shape[1]
    lesser = _lesser_of_pair(others)
    design = _Design(segment_count)
    design.add(lesser[lesser.sum(axis=1) == size])
    known = design.count
    if 2 * (known + count) > comb(segment_count, size):
        design.add(random.permutation(_all_of_size(size, segment_count)))
    while design.count < known + count:
        missing = known + count - design.count
        ranks = random.random((missing, segment_count)).argsort(axis=1).argsort(axis=1)
        design.add(ranks < size)
    return design.masks[known : known + count]


def _all_of_size(size: int, segment_count: int) -> NDArray[np.bool_]:
    members = np.array(list(combinations(range(segment_count), size)))
    masks = np.zeros((len(members), segment_count), dtype=bool)
    np.put_along_axis(masks, members, True, axis=1)
    return masks
