"""Owen values over a hierarchy of segments, which become finer with every group divided."""

import heapq
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from expound_worker.perturbation.owen_errors import OwenErrors


class _Group(NamedTuple):
    """A group of segments that joins a context.

    Attributes:
        node: the group's number in the hierarchy.
        context: (M,) segments that are there before it.
        before: (T,) scores of the context.
        after: (T,) scores of the context and the group.
        weight: share of this order of joining among all of the group's.
    """

    node: int
    context: NDArray[np.bool_]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    weight: float

    @property
    def value(self) -> NDArray[np.float64]:
        return (self.after - self.before) * self.weight


class OwenValues:
    """Owen values (Owen, 1977), by the algorithm of shap's PartitionExplainer (Lundberg).

    The value of a group is divided between its halves as between two players, ``phi(left) =
    1/2 [f(left) - f(nothing)] + 1/2 [f(both) - f(right)]``, with and without what has joined
    before it; the group whose value is largest goes first. Of groups whose values are equal chance
    decides, by draws that are shap's from the same seed. Groups that are not divided yet share
    their values equally among their segments, so that there are values at any time.
    """

    def __init__(self, linkage: NDArray[np.float64], ends: NDArray[np.float64], seed: int) -> None:
        """Begins with the group of all segments.

        Args:
            linkage: (M - 1, 4) the hierarchy, in SciPy's form.
            ends: (2, T) scores of no segment and of all.
            seed: seed of the draws between equal values.
        """
        self._count = len(linkage) + 1
        self._halves = linkage[:, :2].astype(np.int64)
        self._leaves, self._starts, self._sizes = _leaves(linkage)
        self._random = np.random.RandomState(seed)
        self._waiting: list[tuple[float, float, _Group]] = []
        self._asked: deque[_Group] = deque()
        self._alone = np.zeros((self._count, ends.shape[1]))
        self._unpaired = np.empty((0, ends.shape[1]))
        self._errors = OwenErrors(linkage, ends.shape[1])
        nothing = np.zeros(self._count, dtype=bool)
        self._put([_Group(2 * self._count - 2, nothing, ends[0], ends[1], 1.0)])

    def next_masks(self, count: int) -> NDArray[np.bool_]:
        """(n, M) masks whose scores divide the next groups, a pair for each.

        There are `count` or one more, fewer where fewer groups are left, and none where all are
        divided. To be asked for when there are scores of those before.
        """
        masks: list[NDArray[np.bool_]] = []
        while self._waiting and len(masks) < count:
            group = heapq.heappop(self._waiting)[2]
            if group.node < self._count:
                self._alone[group.node] += group.value
                continue
            self._asked.append(group)
            masks += [self._joined(group.context, half) for half in self._halves_of(group)]
        return np.array(masks, dtype=bool).reshape(-1, self._count)

    def add(self, scores: NDArray[np.float64]) -> None:
        """Takes in the (n, T) scores of the next n masks."""
        scores = np.concatenate([self._unpaired, scores])
        paired = len(scores) // 2 * 2
        self._unpaired = scores[paired:]
        pairs = scores[:paired].reshape(-1, 2, scores.shape[1])
        self._put([half for pair in pairs for half in self._divided(self._asked.popleft(), *pair)])

    def values(self) -> NDArray[np.float64]:
        """(M, T) value of each segment, as it stands."""
        values = self._alone.copy()
        for group in (*self._asked, *(waiting[2] for waiting in self._waiting)):
            values[self._members(group.node)] += group.value / self._sizes[group.node]
        return values

    def standard_errors(self) -> NDArray[np.float64] | None:
        """(M, T) standard error of each value; None while no group is divided."""
        return self._errors()

    def _divided(
        self, group: _Group, with_left: NDArray[np.float64], with_right: NDArray[np.float64]
    ) -> list[_Group]:
        left, right = self._halves_of(group)
        context, weight = group.context, group.weight / 2
        of_left = (with_left - group.before + group.after - with_right) / 2
        self._errors.add(group.node - self._count, of_left, group.after - group.before)
        return [
            _Group(left, context, group.before, with_left, weight),
            _Group(right, context, group.before, with_right, weight),
            _Group(left, self._joined(context, right), with_right, group.after, weight),
            _Group(right, self._joined(context, left), with_left, group.after, weight),
        ]

    def _put(self, groups: Sequence[_Group]) -> None:
        values = np.array([group.value for group in groups]).reshape(-1, self._alone.shape[1])
        sizes = np.abs(values).max(axis=1)
        for group, size, draw in zip(groups, sizes, self._random.randn(len(groups)), strict=True):
            heapq.heappush(self._waiting, (-float(size), float(draw), group))

    def _halves_of(self, group: _Group) -> tuple[int, int]:
        left, right = self._halves[group.node - self._count].tolist()
        return left, right

    def _joined(self, context: NDArray[np.bool_], node: int) -> NDArray[np.bool_]:
        joined = context.copy()
        joined[self._members(node)] = True
        return joined

    def _members(self, node: int) -> NDArray[np.int64]:
        start = self._starts[node]
        return self._leaves[start : start + self._sizes[node]]


def _leaves(
    linkage: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Puts the segments in an order in which the members of each group are side by side.

    Returns:
        (M,) the segments in that order; (2 M - 1,) the place of each group's first; and its size.
    """
    count = len(linkage) + 1
    sizes = np.concatenate([np.ones(count), linkage[:, 3]]).astype(np.int64)
    starts = np.zeros_like(sizes)
    for row, (left, right) in reversed(list(enumerate(linkage[:, :2].astype(np.int64).tolist()))):
        starts[left] = starts[count + row]
        starts[right] = starts[left] + sizes[left]
    return np.argsort(starts[:count]), starts, sizes
