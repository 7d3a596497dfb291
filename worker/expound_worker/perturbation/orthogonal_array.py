"""Two-level orthogonal arrays: few masks that tell the effects of all segments apart.

The rows of Sylvester's Hadamard matrices (Plackett and Burman, 1946), of which a mask's segments
are some of the columns: a segment is kept where row and column share an odd number of bits. Any two
segments are kept together as often as not. Of four, the product may be the same in every row: then
what three of them do together passes for what the fourth does, and so do two of them for the other
two. Each doubling of an array is itself with the signs of some segments changed, and these are
chosen so that few such quadruples are left (foldover on a subset of the columns: Montgomery and
Runger, 1996).
"""

from collections.abc import Iterator
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray

_MOST_ROWS = 512
"""Doubled no further: few quadruples are left, and no more is learned from (`PairedWeights`)."""
_ROWS_AT_A_TIME = 64
_DRAWS = 16
"""Choices of columns for one number of segments and rows; each takes milliseconds, and is kept."""


def orthogonal_array(
    rows: int, segment_count: int, random: np.random.Generator
) -> Iterator[NDArray[np.bool_]]:
    """Draws an array: its segments change places, columns change signs, and rows their order.

    Every row alone is uniform over all masks. The smallest array comes first, then the half that
    doubles it, and so on, while chance would confound more quadruples than there are segments: of
    arrays with fewer, what they find is so much nearer than can be told that 95 % intervals hold
    more than 99 %.

    Args:
        rows: rows that are wanted; there are a power of two, more than M, and no more than 512 if M
            is less than that.
        segment_count: M.
        random: where the draw comes from.

    Yields:
        (n, M) the next rows.
    """
    smallest = _smallest(segment_count)
    count = smallest
    while count < min(rows, _MOST_ROWS) and comb(segment_count, 4) > segment_count * count:
        count *= 2
    columns = random.permutation(_columns(segment_count, count, int(random.integers(_DRAWS))))
    signs = random.integers(2, size=segment_count)
    for block in range(0, count, smallest):
        numbers = block + random.permutation(smallest)
        for start in range(0, smallest, _ROWS_AT_A_TIME):
            yield _odd(numbers[start : start + _ROWS_AT_A_TIME], columns) != signs


def _smallest(segment_count: int) -> int:
    """Rows of the smallest array: the power of two above the number of segments."""
    return 1 << segment_count.bit_length()


@lru_cache(maxsize=4096)
def _columns(segment_count: int, rows: int, draw: int) -> NDArray[np.int64]:
    """(M,) numbers of the columns in an array of so many rows; the same always for a draw."""
    random = np.random.default_rng(draw)
    if rows == _smallest(segment_count):
        return 1 + random.permutation(rows - 1)[:segment_count]
    half = rows // 2
    columns = _columns(segment_count, half, draw)
    return columns + half * _changed(_odd(np.arange(half), columns), random)


def _changed(masks: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.bool_]:
    """(M,) segments whose signs change in the half that doubles an array (N, M).

    A quadruple that the first half confounds is free in both together if an odd number of its signs
    change. The sum of all signs in a row, to the fourth power and over the rows, counts those that
    the second half confounds alike: signs change one by one while it falls.
    """
    signs = np.where(masks, -1.0, 1.0)
    changed: NDArray[np.bool_] = random.integers(2, size=masks.shape[1]).astype(bool)
    sums = signs @ np.where(changed, -1, 1)
    falling = True
    while falling:
        falling = False
        for segment in range(masks.shape[1]):
            others = sums + 2 * signs[:, segment] * np.where(changed[segment], 1, -1)
            if _fourth_powers(others) < _fourth_powers(sums):
                sums, falling = others, True
                changed[segment] = not changed[segment]
    return changed


def _fourth_powers(sums: NDArray[np.float64]) -> float:
    squares = sums**2
    return float(squares @ squares)


def _odd(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n, M) whether row and column share an odd number of bits."""
    odd: NDArray[np.bool_] = np.bitwise_count(rows[:, None] & columns) & 1 == 1
    return odd
