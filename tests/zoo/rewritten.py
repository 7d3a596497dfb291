"""Guided backpropagation and deconvolution by another way: the network rewritten by torch.fx."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional

from tests.zoo.subject import Subject, plain_gradient

_BOUNDS: dict[object, float] = {
    nn.ReLU: torch.inf,
    nn.ReLU6: 6.0,
    torch.relu: torch.inf,
    functional.relu: torch.inf,
    functional.relu6: 6.0,
    "relu": torch.inf,
    "relu_": torch.inf,
}
"""The rectifiers of torchvision, and where each ends to be linear."""


class _Guided(torch.autograd.Function):
    """A rectifier that hands down what is positive where it is open."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward((values > 0) & (values < bound))
        return values.clamp(0, bound)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (is_open,) = ctx.saved_tensors
        return gradients[0] * (gradients[0] > 0) * is_open, None


class _Deconvolved(torch.autograd.Function):
    """A rectifier that hands down what is positive."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, bound: float) -> Tensor:
        return values.clamp(0, bound)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * (gradients[0] > 0), None


def _guided(values: Tensor, bound: float) -> Tensor:
    found: Tensor = _Guided.apply(values, bound)
    return found


def _deconvolved(values: Tensor, bound: float) -> Tensor:
    found: Tensor = _Deconvolved.apply(values, bound)
    return found


def guided(subject: Subject) -> NDArray[np.float32]:
    """(3, H, W) guided backpropagation of a network all of whose activations are rectifiers."""
    return plain_gradient(_rewritten(subject.model.module, _guided), subject.batch)


def deconvolved(subject: Subject) -> NDArray[np.float32]:
    """(3, H, W) deconvolution of such a network."""
    return plain_gradient(_rewritten(subject.model.module, _deconvolved), subject.batch)


def _rewritten(module: nn.Module, rectifier: Callable[[Tensor, float], Tensor]) -> nn.Module:
    """The network with a function in place of every rectifier; it has its weights in common."""
    graph = fx.Tracer().trace(module)
    for node, bound in list(_rectifiers(module, graph)):
        with graph.inserting_after(node):
            node.replace_all_uses_with(graph.call_function(rectifier, (node.args[0], bound)))
        graph.erase_node(node)
    return fx.GraphModule(module, graph)


def _rectifiers(module: nn.Module, graph: fx.Graph) -> Iterator[tuple[fx.Node, float]]:
    for node in graph.nodes:
        kind: object = node.target
        if node.op == "call_module":
            kind = type(module.get_submodule(node.target))
        if kind in _BOUNDS:
            yield node, _BOUNDS[kind]
