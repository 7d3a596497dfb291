"""The graph along which relevance flows back: one node for each function that the model calls."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from expound_worker.propagation.nodes import nodes

Propagate = Callable[[tuple[Tensor, ...]], Sequence[Tensor]]
"""From the relevance of each output of a function to that of each of its inputs."""


class _Relevance(torch.autograd.Function):
    """Some outputs that depend on some inputs, with a rule in place of the gradient."""

    @staticmethod
    def forward(
        ctx: Any, propagate: Propagate, outputs: tuple[Tensor, ...], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.propagate = propagate
        return outputs

    @staticmethod
    def backward(ctx: Any, *relevances: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *ctx.propagate(relevances))


def attach(output: Tensor, inputs: Sequence[Tensor], propagate: Propagate) -> Tensor:
    """The output, a new tensor without a gradient, as a node of the graph above its inputs."""
    return _attach_all((output,), inputs, propagate)[0]


def _attach_all(
    outputs: tuple[Tensor, ...], inputs: Sequence[Tensor], propagate: Propagate
) -> tuple[Tensor, ...]:
    attached: tuple[Tensor, ...] = _Relevance.apply(propagate, outputs, *inputs)
    return attached


def carries(value: Any) -> bool:
    """Whether a value is a tensor that carries relevance."""
    return isinstance(value, Tensor) and value.requires_grad


def carriers(*values: Any) -> list[Tensor]:
    """The tensors that carry relevance, anywhere in nested values."""
    return [value for value in pytree.tree_leaves(values) if carries(value)]


class Copy:
    """A call of a function in a small graph of its own, in which autograd knows the way back.

    Attributes:
        inputs: the carriers among its arguments.
        result: what the function returned, in the small graph.
        outputs: the tensors of `result` that depend on the inputs.
    """

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.inputs: list[Tensor] = []
        self._leaves: list[Tensor] = []
        args, kwargs = pytree.tree_map(self._leaf, (args, kwargs))
        with torch.enable_grad():
            self.result = function(*args, **kwargs)
        self.outputs = tuple(carriers(self.result))

    def _leaf(self, value: Any) -> Any:
        if not carries(value):
            return value
        leaf = value.detach().requires_grad_()
        self.inputs.append(value)
        self._leaves.append(leaf)
        return leaf

    def pull_back(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """The gradient of each input, given that of each output."""
        return torch.autograd.grad(self.outputs, self._leaves, gradients, materialize_grads=True)

    def inputs_times(self, factors: Sequence[Tensor]) -> list[Tensor]:
        """The product of each input with its factor; 0 where the factor is, for infinite masks."""
        return [
            torch.where(factor == 0, 0, leaf.detach() * factor)
            for leaf, factor in zip(self._leaves, factors, strict=True)
        ]

    def attach(self, propagate: Propagate) -> Any:
        """The result, its outputs as a node of the great graph above the inputs."""
        if not self.outputs:
            return self.result
        outputs = tuple(output.detach() for output in self.outputs)
        attached = iter(_attach_all(outputs, self.inputs, propagate))
        return pytree.tree_map(
            lambda value: next(attached) if carries(value) else value, self.result
        )


def foreign_node(output: Tensor) -> str | None:
    """Name of a node below a tensor that is of no function that a rule has met; None: no such.

    Scripted modules and a model's own `torch.autograd.Function` make such nodes: relevance would
    flow through them as a gradient.
    """
    for node in nodes(output):
        if getattr(node, "_forward_cls", None) is not _Relevance and node.next_functions:
            return node.name()
    return None
