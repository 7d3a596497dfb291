"""Hierarchies of segments: which parts belong together, and to what larger part."""

import numpy as np
from numpy.typing import NDArray

_SAME_POINT = 1e-9
"""Centroids nearer than this, in pixels, are in one point; their order would be rounding error."""


def halving_tree(segments: NDArray[np.int32]) -> NDArray[np.float64]:
    """Builds a binary tree over segments by halving their bounding box along its longer side.

    A group is divided at the middle of the bounding box of its segments' centroids, as shap's
    image masker divides pixels.

    Args:
        segments: (H, W) segment of each pixel, 0 to M - 1.

    Returns:
        (M - 1, 4) linkage matrix in SciPy's form: the two children of a group (segments are
        numbered 0 to M - 1, the group in row i is M + i, children come before their parent),
        the longer side of its box in pixels, and its number of segments. The last row is the root.
    """
    centroids = _centroids(segments)
    count = len(centroids)
    linkage = np.zeros((count - 1, 4))
    row = count - 2  # from the root down, so that children come before their parent
    waiting: list[tuple[NDArray[np.int64], tuple[int, int] | None]] = [(np.arange(count), None)]
    while waiting:
        members, place = waiting.pop()
        node = int(members[0])
        if len(members) > 1:
            node = count + row
            first, second, side = _halves(members, centroids)
            linkage[row, 2:] = side, len(members)
            waiting += [(second, (row, 1)), (first, (row, 0))]
            row -= 1
        if place is not None:
            linkage[place] = node
    return linkage


def _halves(
    members: NDArray[np.int64], centroids: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    box = centroids[members]
    low, high = box.min(axis=0), box.max(axis=0)
    axis = int(np.argmax(high - low))
    side = float(high[axis] - low[axis])
    if side < _SAME_POINT:  # as of rings: any halves will do
        middle = len(members) // 2
        return members[:middle], members[middle:], 0.0
    in_first = box[:, axis] < (low[axis] + high[axis]) / 2
    return members[in_first], members[~in_first], side


def _centroids(segments: NDArray[np.int32]) -> NDArray[np.float64]:
    """(M, 2) mean row and column of each segment."""
    index = segments.ravel()
    rows, columns = np.indices(segments.shape).reshape(2, -1)
    sizes = np.bincount(index)
    return np.stack([np.bincount(index, rows) / sizes, np.bincount(index, columns) / sizes], axis=1)
