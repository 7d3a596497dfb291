"""The autograd graph below a tensor."""

from collections.abc import Iterator

from torch import Tensor
from torch.autograd.graph import Node


def nodes(output: Tensor) -> Iterator[Node]:
    """Yields each node of the graph that gave a tensor once; none for a constant."""
    seen: set[Node] = set()
    stack = [output.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(below for below, _ in node.next_functions)
