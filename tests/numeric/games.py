"""Games over all coalitions of a few segments: what a weight is, written out."""

from collections.abc import Callable
from math import comb

import numpy as np
from numpy.typing import NDArray

Scores = Callable[[NDArray[np.bool_]], NDArray[np.float64]]


def all_masks(segment_count: int) -> NDArray[np.bool_]:
    """(2^M, M) every mask; row number r holds the segments whose bit is set in r."""
    masks: NDArray[np.bool_] = (
        np.arange(2**segment_count)[:, None] >> np.arange(segment_count) & 1 == 1
    )
    return masks


def game(segment_count: int, target_count: int = 1, seed: int = 0) -> Scores:
    """Scores (n, T) of masks (n, M): main effects, interactions of two, and what is rough."""
    random = np.random.default_rng(seed)
    main = random.standard_normal((segment_count, target_count))
    pairs = random.standard_normal((segment_count, segment_count, target_count)) / 4
    rough = random.standard_normal((2**segment_count, target_count)) / 4

    def scores(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        kept = masks.astype(float)
        both = np.einsum("ni,nj,ijt->nt", kept, kept, pairs)
        table: NDArray[np.float64] = rough[masks @ (1 << np.arange(segment_count))]
        scores: NDArray[np.float64] = kept @ main + both + table
        return scores

    return scores


def shapley(scores: Scores, segment_count: int) -> NDArray[np.float64]:
    """(M, T) Shapley values by their own formula, coalition by coalition."""
    masks = all_masks(segment_count)
    table = scores(masks)
    values = np.zeros((segment_count, table.shape[1]))
    for number, mask in enumerate(masks):
        for player in np.flatnonzero(~mask):
            others = comb(segment_count - 1, int(mask.sum())) * segment_count
            values[player] += (table[number | 1 << player] - table[number]) / others
    return values


def lime_regression(scores: Scores, segment_count: int, width: float) -> NDArray[np.float64]:
    """(M, T) slopes of LIME's weighted regression on every mask there is, without a penalty."""
    masks = all_masks(segment_count).astype(float)
    distances = 1 - np.sqrt(masks.mean(axis=1))  # cosine distance to the row of ones
    root = np.sqrt(np.sqrt(np.exp(-((distances / width) ** 2))))[:, None]
    columns = np.column_stack([np.ones(len(masks)), masks])
    fitted, *_ = np.linalg.lstsq(root * columns, root * scores(masks > 0), rcond=None)
    slopes: NDArray[np.float64] = fitted[1:]
    return slopes
