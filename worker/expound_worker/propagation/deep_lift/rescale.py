"""DeepLIFT's rescale rule: an element-wise function by its difference quotient."""

from collections.abc import Callable

import torch
from torch import Tensor

from expound_worker.propagation.deep_lift.mode import PairMode, PairRule
from expound_worker.propagation.functions import Function, in_place

Call = Callable[[Tensor], Tensor]
"""The function with its other arguments given; never in place."""

Slope = Callable[[Call, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Makes ``(f(x) - f(b)) / (x - b)`` of ``f, x, b, f(x), f(b)``; ``f'(x)`` where ``x = b``."""


def rescaled(slope: Slope) -> PairRule:
    """The rescale rule for functions whose difference quotient `slope` gives."""

    def rule(
        pairs: PairMode, function: Function, first: Tensor, *args: object, **kwargs: object
    ) -> Tensor:
        if not pairs.is_paired(first) or pairs.is_paired(args, kwargs):
            result: Tensor = pairs.without_rule(function, first, *args, **kwargs)
            return result

        def call(values: Tensor) -> Tensor:
            copied = values.clone() if in_place(function) else values
            output: Tensor = function(copied, *args, **kwargs)
            return output

        with torch.no_grad():
            baseline = pairs.baseline(first)
            given = first.detach()
            value, reference = call(given), call(baseline)
            quotient = slope(call, given, baseline, value, reference)
        return pairs.replace(function, first, first * quotient, value, reference)

    return rule


def piecewise_linear(
    call: Call, given: Tensor, baseline: Tensor, value: Tensor, reference: Tensor
) -> Tensor:
    """The quotient itself: differences of linear pieces lose no digits, however small."""
    return _quotient(call, given, baseline, value, reference, tolerance=0)


def smooth(call: Call, given: Tensor, baseline: Tensor, value: Tensor, reference: Tensor) -> Tensor:
    """For functions that bend on a scale of about 1.

    Over a step of ``h`` the quotient is wrong by ``eps / h`` of rounding, the gradient at the
    midpoint by ``h^2``. Below a step of ``sqrt(eps)`` the midpoint is taken: it is then exact to
    the last digit, and even where the function has a kink its share of the sum is of that order.
    """
    tolerance = torch.finfo(given.dtype).eps ** 0.5
    return _quotient(call, given, baseline, value, reference, tolerance)


def scale_free(
    call: Call, given: Tensor, baseline: Tensor, value: Tensor, reference: Tensor
) -> Tensor:
    """Like `smooth`, for powers: they bend on the scale of their argument."""
    scale = (given.abs() + baseline.abs()) * torch.finfo(given.dtype).eps ** 0.5
    return _quotient(call, given, baseline, value, reference, scale)


def of_square(call: Call, given: Tensor, baseline: Tensor, *_: Tensor) -> Tensor:
    """``(x^2 - b^2) / (x - b) = x + b``."""
    return given + baseline


def of_root(
    call: Call, given: Tensor, baseline: Tensor, value: Tensor, reference: Tensor
) -> Tensor:
    """``(sqrt x - sqrt b) / (x - b) = 1 / (sqrt x + sqrt b)``; 0 where both are 0."""
    total = value + reference
    return torch.where(total == 0, 0, 1 / total)


def of_reciprocal(
    call: Call, given: Tensor, baseline: Tensor, value: Tensor, reference: Tensor
) -> Tensor:
    """``(1/x - 1/b) / (x - b) = -1 / (x b)``."""
    return -value * reference


def of_reciprocal_root(
    call: Call, given: Tensor, baseline: Tensor, value: Tensor, reference: Tensor
) -> Tensor:
    """``(r - s) / (x - b) = -r^2 s^2 / (r + s)`` for ``r = x^-1/2, s = b^-1/2``."""
    return -(value.square() * reference.square()) / (value + reference)


def of_exponential(call: Call, given: Tensor, baseline: Tensor, *_: Tensor) -> Tensor:
    """``(e^x - e^b) / (x - b)``, the logarithmic mean of ``e^x`` and ``e^b``."""
    return log_mean_exp(given, baseline).exp()


def of_logarithm(call: Call, given: Tensor, baseline: Tensor, *_: Tensor) -> Tensor:
    """``(log x - log b) / (x - b)``, one over the logarithmic mean of both."""
    return (-log_mean_exp(given.log(), baseline.log())).exp()


def log_mean_exp(first: Tensor, second: Tensor) -> Tensor:
    """Logarithm of the logarithmic mean of ``e^first`` and ``e^second``, ``-inf`` where both are.

    ``max + log((1 - e^-d) / d)`` with ``d = |first - second|``: no digits are lost where they are
    near, and nothing overflows where they are far apart.
    """
    highest = torch.maximum(first, second)
    distance = (first - second).abs().nan_to_num(nan=0)
    share = torch.where(distance == 0, 1, -torch.expm1(-distance) / distance)
    return highest + share.log()


def _quotient(
    call: Call,
    given: Tensor,
    baseline: Tensor,
    value: Tensor,
    reference: Tensor,
    tolerance: float | Tensor,
) -> Tensor:
    difference = given - baseline
    quotient = (value - reference) / difference
    near = difference.abs() <= tolerance
    if not near.any():
        return quotient
    with torch.enable_grad():
        middle = (given / 2 + baseline / 2).requires_grad_()
        (gradient,) = torch.autograd.grad(call(middle).sum(), middle)
    return torch.where(near, gradient, quotient)
