"""Functions by the rules of the simpler ones that they are made of."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from expound_worker.propagation.deep_lift.mode import PairMode, PairRule
from expound_worker.propagation.deep_lift.rescale import log_mean_exp
from expound_worker.propagation.functions import Function


def composed(body: Callable[..., Any]) -> PairRule:
    """The rule that runs `body` in place of the function, every step of it by its own rule."""

    def rule(pairs: PairMode, function: Function, *args: Any, **kwargs: Any) -> Any:
        with pairs:
            return body(*args, **kwargs)

    return rule


def log_sum_exp(
    pairs: PairMode, function: Function, first: Tensor, dim: Any, keepdim: bool = False
) -> Tensor:
    """``log sum exp`` by the rules of its steps, in logarithms.

    The quotients of ``exp`` and ``log`` are logarithmic means, so that the multiplier of ``x_i`` is
    ``L(e^x_i, e^b_i) / L(sum e^x, sum e^b)``.
    """
    baseline = pairs.baseline(first)
    with torch.no_grad():
        sums = [tensor.logsumexp(dim, keepdim=True) for tensor in (first, baseline)]
        multiplier = (log_mean_exp(first, baseline) - log_mean_exp(*sums)).exp()
        value, reference = (tensor.logsumexp(dim, keepdim) for tensor in (first, baseline))
    surrogate = (first * multiplier).sum(dim, keepdim)
    return pairs.replace(function, first, surrogate, value, reference)
