"""What every linear surrogate is asked: whether its samples count, and what it explains."""

import numpy as np
from numpy.typing import NDArray

from expound.reasons import Reason
from expound_worker.methods.method import MethodError

_MIN_EFFECTIVE_SAMPLES = 2
_LOW_R_SQUARED = 0.1
_ROUNDING = 1e-12


def kernel_weights(distances: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """(N,) weights of masks by LIME's kernel, at cosine distances (N,) to the whole image."""
    with np.errstate(over="ignore"):  # infinitely far is weight 0
        weights: NDArray[np.float64] = np.sqrt(np.exp(-((distances / width) ** 2)))
    return weights


def check_neighbours(kernel: NDArray[np.float64], kernel_width: float) -> None:
    """Raises MethodError where the image alone has weight: any line would fit it perfectly.

    Args:
        kernel: (N,) weights of the samples, the image among them.
        kernel_width: the width that made them.
    """
    effective_count = kernel.sum() ** 2 / (kernel**2).sum()  # Kish, 1965
    if effective_count < _MIN_EFFECTIVE_SAMPLES:
        raise MethodError(
            Reason.INVALID_FIELD,
            f"kernel_width {kernel_width:g} is so narrow that the samples together count for "
            f"{effective_count:.2g}: raise it; 0.25 is usual",
            field="kernel_width",
        )


def poor_fit(r_squared: float) -> list[str]:
    """A warning where the surrogate explains little."""
    if r_squared >= _LOW_R_SQUARED:
        return []
    return [
        f"the linear surrogate explains only {max(r_squared, 0):.0%} of the score's variation "
        f"(r_squared {r_squared:.2g}): its weights say little about the model; use kernel_shap, or "
        "another baseline or segmentation"
    ]


class FitQuality:
    """How well a line ``a + z.b`` fits weighted samples, from their moments alone."""

    def __init__(self, segment_count: int, target_count: int) -> None:
        """Begins without samples."""
        self._moments = np.zeros((segment_count + 1, segment_count + 1))
        self._products = np.zeros((segment_count + 1, target_count))
        self._squares = np.zeros(target_count)

    def add(
        self,
        masks: NDArray[np.bool_],
        scores: NDArray[np.float64],
        kernel: NDArray[np.float64],
    ) -> None:
        """Takes in n masks (n, M), their scores (n, T) and their weights (n,)."""
        columns = np.column_stack([np.ones(len(masks)), masks])
        weighted = columns.T * kernel
        self._moments += weighted @ columns
        self._products += weighted @ scores
        self._squares += kernel @ scores**2

    def of(self, slopes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(T,) best intercept for the (M, T) slopes, and the (T,) R² that they have with it."""
        total = self._moments[0, 0]
        intercepts = (self._products[0] - self._moments[0, 1:] @ slopes) / total
        line = np.vstack([intercepts, slopes])
        missed = (
            self._squares
            - 2 * (line * self._products).sum(axis=0)
            + (line * (self._moments @ line)).sum(axis=0)
        )
        spread = self._squares - self._products[0] ** 2 / total
        varies = spread > _ROUNDING * self._squares
        explained = np.ones_like(spread)
        explained[varies] -= missed[varies] / spread[varies]
        return intercepts, explained
