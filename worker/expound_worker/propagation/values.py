"""Values with a gradient of another tensor: how every rule changes what goes backward."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from expound_worker.propagation.nodes import nodes


def with_gradient_of(surrogate: Tensor, value: Tensor) -> Tensor:
    """A tensor of that value, whose gradient goes to `surrogate` as it is; shapes are equal."""
    result: Tensor = _Valued.apply(surrogate, value)
    return result


def own_functions(output: Tensor) -> Iterator[str]:
    """Names of what a network has computed by a `torch.autograd.Function` of its own."""
    for node in nodes(output):
        if isinstance(node, BackwardCFunction) and node._forward_cls is not _Valued:
            yield node.name()


class _Valued(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, surrogate: Tensor, value: Tensor) -> Tensor:
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
