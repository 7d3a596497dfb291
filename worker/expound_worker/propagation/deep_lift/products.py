"""Products and quotients of what depends on the input, by the midpoint of the other factor."""

from typing import Any

import torch
from torch import Tensor

from expound_worker.propagation.deep_lift.mode import PairMode
from expound_worker.propagation.functions import Function, in_place


def product(
    pairs: PairMode, function: Function, first: Any, second: Any, *args: Any, **kwargs: Any
) -> Any:
    """Any bilinear function: ``d(u v) = du (v + v')/2 + (u + u')/2 dv``, which is exact.

    A product with a constant is linear.
    """
    if not (pairs.is_paired(first) and pairs.is_paired(second)):
        return pairs.run(function, first, second, *args, **kwargs)

    def call(left: Tensor, right: Tensor) -> Tensor:
        copied = left.clone() if in_place(function) else left
        result: Tensor = function(copied, right, *args, **kwargs)
        return result

    with torch.no_grad():
        value = call(first.detach(), second.detach())
        reference = call(pairs.baseline(first), pairs.baseline(second))
        middles = [(factor.detach() + pairs.baseline(factor)) / 2 for factor in (first, second)]
    surrogate = call(first, middles[1]) + call(middles[0], second)
    return pairs.replace(function, first, surrogate, value, reference)


def einsum(pairs: PairMode, function: Function, equation: str, *operands: Any) -> Any:
    """An Einstein sum; bilinear where two operands depend on the input."""
    factors = list(operands[0]) if isinstance(operands[0], list | tuple) else list(operands)
    paired = [index for index, factor in enumerate(factors) if pairs.is_paired(factor)]
    if len(paired) < 2:
        return pairs.run(function, equation, factors)
    if len(paired) > 2:
        return pairs.without_rule(function, equation, factors)

    def contract(left: Tensor, right: Tensor) -> Tensor:
        given = list(factors)
        given[paired[0]], given[paired[1]] = left, right
        result: Tensor = function(equation, given)
        return result

    return product(pairs, contract, factors[paired[0]], factors[paired[1]])


def quotient(
    pairs: PairMode,
    function: Function,
    first: Any,
    second: Any,
    *,
    rounding_mode: str | None = None,
) -> Any:
    """``q = u / v`` by the midpoint rule of the product ``u = q v``.

    ``dq = (du - (q + q')/2 dv) / ((v + v')/2)``: exact as ``u (1/v)`` by midpoints is, and without
    its cancelling terms of size ``1/v'`` where ``v'`` is close to 0, as the standard deviation of
    an empty baseline is. Written so that it holds for a ``v`` that changes its sign, too.
    """
    if rounding_mode is not None:
        return pairs.without_rule(function, first, second, rounding_mode=rounding_mode)
    if not pairs.is_paired(second):
        return pairs.run(function, first, second)
    with torch.no_grad():
        divisor, other_divisor = second.detach(), pairs.baseline(second)
        dividend = first.detach() if isinstance(first, Tensor) else first
        value, reference = dividend / divisor, pairs.baseline(first) / other_divisor
        size = divisor.abs() + other_divisor.abs()
        by_dividend = (divisor.sign() + other_divisor.sign()) / size
        by_divisor = -(divisor.sign() * reference + other_divisor.sign() * value) / size
    surrogate = second * by_divisor
    if pairs.is_paired(first):
        surrogate = surrogate + first * by_dividend
    return pairs.replace(function, first, surrogate, value, reference)
