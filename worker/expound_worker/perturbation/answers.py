"""Answers of methods that give each segment a weight."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from expound_worker.methods.completeness import completeness_error
from expound_worker.methods.method import PROBABILITY, Answer
from expound_worker.perturbation.engine import pixel_map


def additive_answers(
    weights: NDArray[np.float64],
    ends: NDArray[np.float64],
    evaluations: int,
    segments: NDArray[np.int32],
    standard_errors: NDArray[np.float64] | None = None,
) -> list[Answer]:
    """Makes answers of weights that sum to the score minus the baseline's.

    Args:
        weights: (M, T).
        ends: (2, T) scores of the baseline and of the image.
        evaluations: composites scored so far.
        segments: (H, W) segment of each pixel.
        standard_errors: (M, T), where they are known.

    Returns:
        One answer a target.
    """
    errors: Sequence[NDArray[np.float64] | None] = (
        [None] * weights.shape[1] if standard_errors is None else list(standard_errors.T)
    )
    answers = []
    for values, (baseline_output, output), error in zip(
        weights.T, ends.T.tolist(), errors, strict=True
    ):
        delta = float(values.sum() - (output - baseline_output))
        answers.append(
            Answer(
                values=pixel_map(values, segments),
                score=PROBABILITY,
                output=output,
                evaluations=evaluations,
                baseline_output=baseline_output,
                convergence_delta=delta,
                completeness_error=completeness_error(delta, output, baseline_output),
                segments=segments,
                weights=values,
                standard_errors=error,
            )
        )
    return answers
