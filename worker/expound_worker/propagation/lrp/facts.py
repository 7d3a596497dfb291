"""What a run knows of the tensors that it has met, besides their values."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from expound_worker.propagation.functions import Function
from expound_worker.propagation.lrp.graph import carriers, carries
from expound_worker.propagation.lrp.layers import Bounds


class Facts:
    """Which tensors are gates, and which are still the input, moved or scaled pixel by pixel.

    The latter have known bounds, and the layers that see them are the first ones.
    """

    def __init__(self, inputs: Tensor, bounds: Bounds) -> None:
        """Starts with the input alone; the bounds have shapes that broadcast to its own."""
        # Weak, so that a fact goes when the model lets go of its tensor.
        self._gates = WeakTensorKeyDictionary()
        self._bounds = WeakTensorKeyDictionary()
        self._bounds[inputs] = Bounds(bounds.low.expand_as(inputs), bounds.high.expand_as(inputs))

    def bounds(self, tensor: Tensor) -> Bounds | None:
        """The bounds of a tensor that is still the input; None of any other."""
        found: Bounds | None = self._bounds.get(tensor)
        return found

    def add_gate(self, tensor: Tensor) -> None:
        """Notes that the tensor opens and closes other signals."""
        self._gates[tensor] = True

    def is_gate(self, factor: Tensor, shape: torch.Size) -> bool:
        """Whether a factor of a product of that shape is a gate: noted as one, or broadcast."""
        return factor in self._gates or factor.shape != shape

    def follow(
        self, function: Function, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        """Hands facts on through a function that leaves the input what it is, and gates gates."""
        inputs, outputs = carriers(args, kwargs), carriers(result)
        if all(tensor in self._gates for tensor in inputs):
            for output in outputs:
                self.add_gate(output)
        if all(tensor in self._bounds for tensor in inputs):
            ends = [self._end(side, function, args, kwargs) for side in (0, 1)]
            for output, one, other in zip(outputs, *ends, strict=True):
                self._bounds[output] = Bounds(one.minimum(other), one.maximum(other))

    def _end(
        self, side: int, function: Function, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> list[Tensor]:
        """The outputs where the inputs are at one of their bounds."""
        args, kwargs = pytree.tree_map(
            lambda value: self._bounds[value][side] if carries(value) else value, (args, kwargs)
        )
        results = pytree.tree_leaves(function(*args, **kwargs))
        return [result for result in results if result.is_floating_point()]
