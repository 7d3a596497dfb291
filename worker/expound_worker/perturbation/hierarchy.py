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
    # All groups of one depth at a time: their members side by side, and how many each has.
    members, sizes = np.arange(count), np.array([count])
    end = count - 1  # from the root down, so that children come before their parent
    while end > 0:
        rows = np.arange(end - 1, end - 1 - len(sizes), -1)
        end -= len(sizes)
        group = np.repeat(np.arange(len(sizes)), sizes)
        in_second, sides = _halves(centroids[members], group, sizes)
        members = members[np.argsort(2 * group + in_second, kind="stable")]
        linkage[rows, 2], linkage[rows, 3] = sides, sizes
        sizes = np.bincount(2 * group + in_second)
        is_group = sizes > 1
        nodes = members[np.cumsum(sizes) - 1]
        nodes[is_group] = count + end - 1 - np.arange(is_group.sum())
        linkage[rows, :2] = nodes.reshape(-1, 2)
        members, sizes = members[np.repeat(is_group, sizes)], sizes[is_group]
    return linkage


def context_counts(linkage: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M - 1,) in how many contexts each group joins: with and without each group beside its own.

    Args:
        linkage: (M - 1, 4) the hierarchy, in SciPy's form.
    """
    count = len(linkage) + 1
    contexts = np.ones(2 * count - 1)
    for row in range(len(linkage) - 1, -1, -1):
        contexts[linkage[row, :2].astype(int)] = 2 * contexts[count + row]
    return contexts[count:]


def _halves(
    centroids: NDArray[np.float64], group: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which members are in their group's second half, and (groups,) longer sides of the boxes."""
    starts = np.cumsum(sizes) - sizes
    low, high = np.minimum.reduceat(centroids, starts), np.maximum.reduceat(centroids, starts)
    axes = np.argmax(high - low, axis=1)
    low, high = (corner[np.arange(len(sizes)), axes] for corner in (low, high))
    places = centroids[np.arange(len(centroids)), axes[group]]
    in_second = places >= ((low + high) / 2)[group]
    in_one_point = high - low < _SAME_POINT  # as of rings: any halves will do
    is_late = np.arange(len(group)) - starts[group] >= (sizes // 2)[group]
    in_second = np.where(in_one_point[group], is_late, in_second)
    return in_second, np.where(in_one_point, 0.0, high - low)


def _centroids(segments: NDArray[np.int32]) -> NDArray[np.float64]:
    """(M, 2) mean row and column of each segment."""
    index = segments.ravel()
    rows, columns = np.indices(segments.shape).reshape(2, -1)
    sizes = np.bincount(index)
    return np.stack([np.bincount(index, rows) / sizes, np.bincount(index, columns) / sizes], axis=1)
