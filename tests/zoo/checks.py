"""What is found of an answer by other means than those that gave it: its error."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expound_worker.methods.method import Answer
from tests.zoo.subject import Subject

EXACT = 1e-3
"""Error of an exact answer at most: the contract's figure for float32."""
_FIGURE_TOLERANCE = (0.05, 2e-4)
"""By how much the error that an answer names may differ from the one found: relative, absolute."""


class Verdict(StrEnum):
    """What came of a method on a classifier."""

    EXACT = "exact"
    """Right to rounding, and no warning."""
    APPROXIMATE = "approximate"
    """The error is one that the answer tells of, by a warning, a standard error, or a precision
    that was asked for."""
    REFUSED = "refused"
    """No answer, but the reason."""
    SLOW = "slow"
    """Given up."""
    WRONG = "wrong"
    """Anything else: an error that nothing tells of, or an exception."""


@dataclass(frozen=True)
class Check:
    """What was found of an answer.

    Attributes:
        error: how far it is from what it must be, relative to that.
        allowed: the largest error that it may have without a warning.
        named: whether the error is one that the answer names, so that a warning tells of it.
    """

    error: float
    allowed: float = EXACT
    named: bool = False


def judge(answer: Answer, check: Check) -> tuple[Verdict, str]:
    """The verdict on an answer, and the reason where it is wrong."""
    error = check.error
    if not np.isfinite(answer.values).all():
        return Verdict.WRONG, "values that are not finite"
    if check.named and not _names(answer, error):
        return Verdict.WRONG, f"it names an error of {answer.completeness_error}"
    if error <= EXACT and not answer.warnings:
        return Verdict.EXACT, ""
    if error <= check.allowed or (check.named and answer.warnings):
        return Verdict.APPROXIMATE, ""
    return Verdict.WRONG, "an error that nothing tells of"


def completeness(subject: Subject, answer: Answer, baselines: Tensor, allowed: float) -> Check:
    """Error of the sum of the values, which must be the difference of the logits."""
    references = np.mean([subject.logit(baseline) for baseline in baselines])
    expected = subject.logit(subject.image) - float(references)
    error = relative(float(answer.values.astype(np.float64).sum()), expected)
    return Check(error, allowed, named=True)


def efficiency(subject: Subject, answer: Answer) -> float:
    """Error of the sum of the weights, which must be the difference of the probabilities."""
    output, baseline_output = subject.probabilities(torch.stack([subject.image, subject.zeros]))
    return relative(float(weights_of(answer).sum()), float(output - baseline_output))


def weights_of(answer: Answer) -> NDArray[np.float64]:
    """(segments,) of an answer that has them."""
    assert answer.weights is not None
    return answer.weights


def relative(found: float, expected: float) -> float:
    """Error of a number."""
    return abs(found - expected) / abs(expected)


def difference(
    found: NDArray[np.float32] | NDArray[np.float64],
    expected: NDArray[np.float32] | NDArray[np.float64],
) -> float:
    """Error of an array: the largest difference, relative to the largest value."""
    if found.shape != expected.shape:
        return np.inf
    largest = float(np.abs(expected).max())
    if not largest:  # a CAM whose evidence is all negative
        return np.inf if found.any() else 0.0
    return float(np.abs(found.astype(np.float64) - expected).max()) / largest


def _names(answer: Answer, error: float) -> bool:
    close, near = _FIGURE_TOLERANCE
    named = answer.completeness_error
    return named is not None and bool(np.isclose(named, error, rtol=close, atol=near))
