"""RISE: the score that the model is expected to keep under random smooth masks, by pixel."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from expound.v1 import method_pb2
from expound_worker.methods.method import PROBABILITY, Answer, PerturbationMethod, Report
from expound_worker.models.model import Model
from expound_worker.perturbation.baselines import make_baseline
from expound_worker.perturbation.engine import (
    PlanScorer,
    check_plan_size,
    pixel_map,
    refusal_of_one_class,
)

_CONSTANT = (
    "the model gives the same score whatever is hidden: the map shows how often the masks keep a "
    "pixel, and nothing of the image"
)


class Rise(PerturbationMethod):
    """RISE (Petsiuk, Das and Saenko, 2018, "Randomized Input Sampling for Explanation").

    ``S(p) = 1 / (N q) * sum over masks of f(x under m) m(p)``: an estimate of the mean score given
    that pixel p is kept. A mask is a grid of `grid_size` cells a side, each kept with probability
    q, enlarged bilinearly by ``ceil(H / grid_size)`` pixels a cell to one cell more than the image
    needs, and cut out at a random shift of less than a cell; it blends image and baseline,
    ``m x + (1 - m) b``.

    Draws, of ``numpy.random.default_rng(seed)``: the (N, cells) uniform numbers that are kept below
    q (float32), then the shifts (N, 2) down and right.

    Values (H, W), in probability: all positive, and about the mean score wherever a pixel does not
    matter; compare pixels with one another. They do not add up to anything. `standard_error` is the
    largest of a pixel, over other masks. Early estimates are means over the cells of a grid twice
    as fine as the masks'.

    Cost: `n_samples` evaluations, and one for the image.
    """

    name = "rise"

    def refusal(self, model: Model) -> str | None:
        """Needs two classes."""
        return refusal_of_one_class(model)

    def attribute(
        self,
        model: Model,
        image: Tensor,
        targets: Sequence[int],
        parameters: method_pb2.Rise,
        seed: int,
        report: Report,
    ) -> list[Answer]:
        """Explains one input, as `PerturbationMethod.attribute` says."""
        masks = _SmoothMasks(image, parameters.grid_size)
        plan = masks.draw(parameters.n_samples, parameters.keep_probability, seed)
        baseline = make_baseline(parameters.baseline, model.preprocessing, image, seed)
        scorer = PlanScorer(model, image, baseline, masks, targets)
        (output,) = scorer.batches(masks.whole())
        sums = _Sums(masks, output[0], parameters.keep_probability)
        cells = _cells(image, 2 * parameters.grid_size)
        for scores in scorer.batches(plan):
            sums.add(plan[sums.count : sums.count + len(scores)], scores)
            report(scorer.evaluations, len(plan) + 1, lambda: sums.coarse(cells))
        return sums.answers()


class _SmoothMasks:
    """Makes masks of pixels from rows of a plan: the cells of the grid, and the shift."""

    def __init__(self, image: Tensor, grid_size: int) -> None:
        height, width = image.shape[1:]
        self._grid_size = grid_size
        self._cell = (-(-height // grid_size), -(-width // grid_size))
        self._rows = torch.arange(height, device=image.device)[:, None]
        self._columns = torch.arange(width, device=image.device)

    def draw(self, n_samples: int, keep_probability: float, seed: int) -> NDArray[np.int16]:
        """(N, cells + 2) rows."""
        cells = self._grid_size**2
        check_plan_size(n_samples, cells, "cells of the mask")
        random = np.random.default_rng(seed)
        kept = random.random((n_samples, cells), dtype=np.float32) < keep_probability
        shifts = random.integers(self._cell, size=(n_samples, 2))
        return np.column_stack([kept.astype(np.int16), shifts.astype(np.int16)])

    def whole(self) -> NDArray[np.int16]:
        """The row of the image itself."""
        row = np.ones((1, self._grid_size**2 + 2), dtype=np.int16)
        row[:, -2:] = 0
        return row

    def __call__(self, rows: NDArray[np.int16]) -> Tensor:
        """(n, H, W) float32 shares of the image."""
        on_device = torch.from_numpy(rows).to(self._rows.device)
        grids = on_device[:, :-2].float().view(-1, 1, self._grid_size, self._grid_size)
        size = [(self._grid_size + 1) * cell for cell in self._cell]
        smooth = functional.interpolate(grids, size, mode="bilinear", align_corners=False)[:, 0]
        down, right = on_device[:, -2:, None, None].long().unbind(1)
        number = torch.arange(len(rows), device=self._rows.device)[:, None, None]
        return smooth[number, down + self._rows, right + self._columns]


class _Sums:
    """The sums over the masks so far, by target and pixel, on the device."""

    def __init__(
        self, masks: _SmoothMasks, outputs: NDArray[np.float64], keep_probability: float
    ) -> None:
        self.count = 0
        self._masks = masks
        self._outputs = outputs
        self._keep_probability = keep_probability
        self._lowest = self._highest = outputs
        self._sum: Tensor | float = 0.0
        self._sum_of_squares: Tensor | float = 0.0

    def add(self, rows: NDArray[np.int16], scores: NDArray[np.float64]) -> None:
        """Takes in the (n, T) scores of n rows of the plan."""
        self._lowest = np.minimum(self._lowest, scores.min(axis=0))
        self._highest = np.maximum(self._highest, scores.max(axis=0))
        masks = self._masks(rows).double()
        weights = torch.from_numpy(scores).to(masks)
        self._sum = self._sum + torch.einsum("nt,nhw->thw", weights, masks)
        self._sum_of_squares = self._sum_of_squares + torch.einsum(
            "nt,nhw->thw", weights**2, masks**2
        )
        self.count += len(rows)

    def answers(self) -> list[Answer]:
        """The answers as they stand, one a target."""
        values = torch.as_tensor(self._sum) / (self.count * self._keep_probability)
        errors = self._standard_errors().flatten(1).amax(dim=1)
        return [
            Answer(
                values=value,
                score=PROBABILITY,
                output=float(output),
                evaluations=self.count + 1,
                standard_error=float(error),
                warnings=[] if differ else [_CONSTANT],
            )
            for value, output, error, differ in zip(
                values.float().cpu().numpy(),
                self._outputs,
                errors,
                self._lowest < self._highest,
                strict=True,
            )
        ]

    def coarse(self, cells: NDArray[np.int32]) -> list[Answer]:
        """The answers as they stand, each the means over cells, (H, W) from 0."""
        if self.count < 2:
            return []
        return [_coarse(answer, cells) for answer in self.answers()]

    def _standard_errors(self) -> Tensor:
        """(T, H, W) standard errors of the values."""
        mean = torch.as_tensor(self._sum) / self.count
        mean_of_squares = torch.as_tensor(self._sum_of_squares) / self.count
        variance = (mean_of_squares - mean**2).clamp(min=0) / max(self.count - 1, 1)
        return variance.sqrt() / self._keep_probability


def _cells(image: Tensor, count: int) -> NDArray[np.int32]:
    """(H, W) cell of each pixel, of a grid with as many cells a side, or one a pixel."""
    row, column = (
        np.arange(length, dtype=np.int32) * min(count, length) // length
        for length in image.shape[1:]
    )
    cells: NDArray[np.int32] = row[:, None] * (column[-1] + 1) + column
    return cells


def _coarse(answer: Answer, cells: NDArray[np.int32]) -> Answer:
    index = cells.ravel()
    weights = np.bincount(index, answer.values.ravel().astype(np.float64)) / np.bincount(index)
    return replace(answer, values=pixel_map(weights, cells), segments=cells, weights=weights)
