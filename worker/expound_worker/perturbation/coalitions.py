"""Coalitions of segments for KernelSHAP: shap's plan of masks, in an order of ours."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shap import KernelExplainer

from expound_worker.perturbation.randomness import global_randomness


@dataclass(frozen=True)
class Coalitions:
    """A plan of coalitions, divided into units: one mask, or a mask and its complement.

    shap's plan lists every coalition of the sizes that it can afford, smallest and largest first,
    and draws units of the other sizes at random. Here those of one segment and of all but one
    come first where they are all listed: with them alone each segment has a fair first estimate.
    Everything else follows in random order, so that any first part of it stands for the whole.

    Attributes:
        masks: (N, M) coalitions, the units one behind the other.
        weights: (N,) weight of each in the regression.
        starts: (units,) first row of each unit.
        drawn: (units,) whether the unit was drawn at random, not listed.
        leading: number of the units that come first.
    """

    masks: NDArray[np.bool_]
    weights: NDArray[np.float64]
    starts: NDArray[np.int64]
    drawn: NDArray[np.bool_]
    leading: int

    def units_within(self, count: int) -> int:
        """Number of units that lie wholly within the first `count` rows."""
        ends = np.append(self.starts[1:], len(self.masks))
        return int(np.searchsorted(ends, count, side="right"))

    def rows_of(self, units: int) -> int:
        """Number of rows of the first `units` units."""
        return int(self.starts[units]) if units < len(self.starts) else len(self.masks)


def plan_coalitions(n_samples: int, segment_count: int, seed: int) -> Coalitions:
    """Plans as shap's KernelExplainer does from this seed, and puts the plan in order."""
    planner = _Planner(segment_count)
    with global_randomness(seed):
        planner.plan(n_samples)
    added = planner.nsamplesAdded
    masks = planner.maskMatrix[:added].astype(bool)
    starts = _unit_starts(masks)
    drawn = np.array(planner.drawn)[starts]
    sizes = masks[starts].sum(axis=1)
    leading = ~drawn & ((sizes == 1) | (sizes == segment_count - 1))
    keys = np.where(leading, -1.0, np.random.default_rng(seed).random(len(starts)))
    order = np.argsort(keys, kind="stable")
    lengths = np.diff(np.append(starts, added))
    rows = np.concatenate([starts[unit] + np.arange(lengths[unit]) for unit in order])
    return Coalitions(
        masks=masks[rows],
        weights=planner.kernelWeights[:added][rows],
        starts=np.concatenate([[0], np.cumsum(lengths[order])[:-1]]),
        drawn=drawn[order],
        leading=int(leading.sum()),
    )


class CoalitionRegression(KernelExplainer):  # type: ignore[misc]  # shap has no types
    """shap's explainer over coalitions instead of data: its plan, and its regression.

    The background is a row of zeros and the instance a row of ones, so that the rows that shap
    makes of them are the masks themselves.
    """

    def __init__(self, segment_count: int, target_count: int = 1) -> None:
        """Makes an explainer whose model is not called."""
        super().__init__(
            lambda rows: np.zeros((len(rows), target_count)), np.zeros((1, segment_count))
        )


class _Planned(Exception):
    """The plan is made, and shap would evaluate it."""


class _Planner(CoalitionRegression):
    """Keeps shap's plan of masks, and which of them were drawn at random."""

    drawn: list[bool]

    def plan(self, n_samples: int) -> None:
        """Fills `maskMatrix`, `kernelWeights` and `drawn`, from numpy's global generator."""
        self.drawn = []
        try:
            self.explain(np.ones((1, self.P)), nsamples=n_samples, l1_reg=False)
        except _Planned:
            return

    def addsample(self, x: Any, m: Any, w: float) -> None:
        """Adds a mask; shap gives a drawn one the weight 1, and a listed one less."""
        super().addsample(x, m, w)
        self.drawn.append(w == 1.0)

    def run(self) -> None:
        """Leaves shap before it evaluates."""
        raise _Planned


def _unit_starts(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First row of each unit; masks of half of the segments are never paired by shap."""
    is_complement = np.all(masks[:-1] ^ masks[1:], axis=1)
    is_half: NDArray[np.bool_] = 2 * masks.sum(axis=1) == masks.shape[1]
    starts = []
    row = 0
    while row < len(masks):
        starts.append(row)
        paired = row + 1 < len(masks) and is_complement[row] and not is_half[row]
        row += 2 if paired else 1
    return np.array(starts, dtype=np.int64)
