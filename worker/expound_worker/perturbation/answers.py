"""Answers of methods that give each segment a weight."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from expound_worker.methods.completeness import completeness_error
from expound_worker.methods.method import PROBABILITY, Answer
from expound_worker.perturbation.engine import pixel_map

_FEW = 2
"""Evaluations a segment: with fewer, standard errors of paired coalitions hold too little."""
_NEAR = 0.01
"""Of 0 or 1: so near, a probability hides how the score changes between image and baseline."""


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


def doubted(answer: Answer) -> Answer:
    """The answer, with a warning where its standard errors are likely too small.

    They are where there are fewer than 2 evaluations a segment, or where image and baseline both
    have a probability within 0.01 of 0, or of 1 (`PairedWeights` has the figures). Errors that are
    all 0 are exact.
    """
    errors = answer.standard_errors
    if errors is None or not errors.any() or answer.baseline_output is None:
        return answer
    reasons = []
    if answer.evaluations < _FEW * len(errors):
        reasons.append(f"{answer.evaluations} evaluations are few for {len(errors)} segments")
    for bound in (0, 1):
        if max(abs(answer.output - bound), abs(answer.baseline_output - bound)) < _NEAR:
            reasons.append(f"image and baseline both have a probability within {_NEAR} of {bound}")
    if not reasons:
        return answer
    warning = f"the standard errors are likely too small: {', and '.join(reasons)}; raise n_samples"
    return replace(answer, warnings=[*answer.warnings, warning])
