"""Occlusion: the score that is lost under a sliding window."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2
from expound_worker.methods.method import (
    PROBABILITY,
    Answer,
    MethodError,
    PerturbationMethod,
    Report,
)
from expound_worker.models.model import Model
from expound_worker.perturbation.anytime import AllScores, run_plan
from expound_worker.perturbation.baselines import make_baseline
from expound_worker.perturbation.engine import PlanScorer, pixel_map, refusal_of_one_class

_WINDOWS_ALONG_A_SIDE = 8
"""The default window is the input's height and width over this."""


class Occlusion(PerturbationMethod):
    """Zeiler and Fergus, 2014: ``f(x) - f(x with the window replaced)``, averaged by pixel.

    A window starts at every multiple of the stride up to the first that reaches the far edge, and
    is cut off there; a pixel's value is the mean loss of the windows over it, as of Captum's
    Occlusion. Exact: there is no chance in it, and so no standard error. (The windows are visited
    in random order, so that the early estimates cover the whole image.)

    Values (H, W), in probability. They are constant on the cells that the windows' edges cut the
    image into, which are the answer's segments; they do not add up to anything. In early
    estimates, cells that no window has covered yet have 0.

    Cost: one evaluation a window, ``(ceil((H - h) / stride) + 1)`` times the same of the width, and
    one for the image.
    """

    name = "occlusion"

    def refusal(self, model: Model) -> str | None:
        """Needs two classes."""
        return refusal_of_one_class(model)

    def attribute(
        self,
        model: Model,
        image: Tensor,
        targets: Sequence[int],
        parameters: method_pb2.Occlusion,
        seed: int,
        report: Report,
    ) -> list[Answer]:
        """Explains one input, as `PerturbationMethod.attribute` says."""
        height, width = image.shape[1:]
        rows = _side(parameters, "height", height)
        columns = _side(parameters, "width", width)
        baseline = make_baseline(parameters.baseline, model.preprocessing, image, seed)
        row, column = (torch.arange(length, device=image.device) for length in (height, width))

        def outside(windows: NDArray[np.int64]) -> Tensor:
            top, bottom, left, right = torch.from_numpy(windows).to(image.device).T[:, :, None]
            across = (column >= left) & (column < right)
            down = (row >= top) & (row < bottom)
            inside: Tensor = down[:, :, None] & across[:, None, :]
            return ~inside

        scorer = PlanScorer(model, image, baseline, outside, targets)
        windows = np.array([[*down, *across] for down in rows.spans for across in columns.spans])
        windows = np.random.default_rng(seed).permutation(windows)
        plan = np.concatenate([np.zeros_like(windows[:1]), windows])  # an empty window: the image
        return run_plan(scorer, plan, AllScores(_MeanLosses(plan, rows, columns)), report)


@dataclass(frozen=True)
class _Side:
    """The windows along one side of the image.

    Attributes:
        spans: first pixel of each, and the one behind its last.
        edges: first pixel of each cell that their edges cut the side into.
        cells: (length,) cell of each pixel.
    """

    spans: list[tuple[int, int]]
    edges: list[int]
    cells: NDArray[np.int64]


def _side(parameters: method_pb2.Occlusion, side: str, length: int) -> _Side:
    """Lays the windows along the side named "height" or "width"."""
    window = getattr(parameters, f"window_{side}") or max(1, length // _WINDOWS_ALONG_A_SIDE)
    stride = getattr(parameters, f"stride_{side}") or max(1, window // 2)
    if window > length:
        raise MethodError(
            Reason.INVALID_FIELD,
            f"a window of {window} pixels does not fit into the input's {side}, {length}",
            field=f"window_{side}",
        )
    if stride > window:
        raise MethodError(
            Reason.INVALID_FIELD,
            f"steps of {stride} pixels leave gaps between windows of {window}: stride_{side} must "
            f"be at most window_{side}",
            field=f"stride_{side}",
        )
    count = -(-(length - window) // stride) + 1
    spans = [(step * stride, min(step * stride + window, length)) for step in range(count)]
    edges = sorted({edge for span in spans for edge in span} - {length})
    cells = np.searchsorted(edges, np.arange(length), side="right") - 1
    return _Side(spans, edges, cells)


class _MeanLosses:
    """Makes answers of the scores of the image and of the first windows."""

    def __init__(self, plan: NDArray[np.int64], rows: _Side, columns: _Side) -> None:
        self._shape = (len(rows.edges), len(columns.edges))
        self._segments = (rows.cells[:, None] * self._shape[1] + columns.cells).astype(np.int32)
        # Windows in cells instead of pixels: where a window ends, a cell does.
        self._windows = np.column_stack(
            [
                np.searchsorted(edges, plan[:, side])
                for side, edges in enumerate([rows.edges] * 2 + [columns.edges] * 2)
            ]
        )

    def __call__(self, scores: NDArray[np.float64]) -> list[Answer]:
        if len(scores) < 2:
            return []
        losses = scores[0] - scores[1:]
        windows = self._windows[1 : len(scores)]
        counts = self._covered(windows, np.ones((len(windows), 1)))
        means = self._covered(windows, losses) / np.maximum(counts, 1)
        return [
            Answer(
                values=pixel_map(weights, self._segments),
                score=PROBABILITY,
                output=float(output),
                evaluations=len(scores),
                segments=self._segments,
                weights=weights,
            )
            for weights, output in zip(means.T, scores[0], strict=True)
        ]

    def _covered(
        self, windows: NDArray[np.int64], amounts: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(cells, T) sum of the (n, T) amounts of the windows over each cell.

        Each window puts its amount, and takes it back, at its corners; running sums do the rest.
        """
        height, width = self._shape
        corners = np.zeros((height + 1, width + 1, amounts.shape[1]))
        top, bottom, left, right = windows.T
        for row, column, sign in (
            (top, left, 1),
            (top, right, -1),
            (bottom, left, -1),
            (bottom, right, 1),
        ):
            np.add.at(corners, (row, column), sign * amounts)
        sums: NDArray[np.float64] = corners.cumsum(axis=0).cumsum(axis=1)
        return sums[:-1, :-1].reshape(height * width, -1)
