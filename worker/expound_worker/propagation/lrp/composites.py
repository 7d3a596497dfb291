"""Which rule stands at which layer: the composites that people use."""

from collections.abc import Callable
from dataclasses import dataclass

from expound_worker.propagation.lrp.layers import (
    Bounds,
    LayerRule,
    epsilon,
    flat,
    gamma,
    z_box,
    z_plus,
)


@dataclass(frozen=True)
class Composite:
    """The rules of a model's layers; the first layers are those that see the input itself.

    Attributes:
        dense: rule of matrix products.
        convolution: rule of convolutions.
        first: rule of the first layers, given the bounds of the input; None: no rule of their own.
    """

    dense: LayerRule
    convolution: LayerRule
    first: Callable[[Bounds], LayerRule] | None


def epsilon_plus_flat(stabilizer: float) -> Composite:
    """Epsilon at dense layers, z-plus at convolutions, flat at the first."""
    return Composite(epsilon(stabilizer), z_plus, lambda bounds: flat)


def epsilon_gamma_box(stabilizer: float, factor: float) -> Composite:
    """Epsilon at dense layers, gamma at convolutions, z-box at the first."""
    return Composite(epsilon(stabilizer), gamma(factor), z_box)


def epsilon_everywhere(stabilizer: float) -> Composite:
    """Epsilon at all layers."""
    rule = epsilon(stabilizer)
    return Composite(rule, rule, first=None)
