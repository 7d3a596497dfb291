"""Runs a model on an input and its baseline at once, with rules that see both."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from expound.reasons import Reason
from expound_worker.methods.method import MethodError
from expound_worker.propagation.functions import Function, in_place, name_of
from expound_worker.propagation.mode import RuleMode
from expound_worker.propagation.values import with_gradient_of

PairRule = Callable[..., Any]
"""Called as ``rule(pairs, function, *args, **kwargs)`` in place of the function."""

_READERS = {"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "equal"}
"""Functions that hand values of a tensor to Python."""


class PairMode(RuleMode):
    """Runs every function twice: on what the input became, and on what the baseline became.

    The model sees the input alone. Beside each tensor that depends on it the mode keeps the
    tensor that the baseline became at the same place: its pair. A rule is met where a function has
    one, and takes both into account; it gives the value of the function at the input, with the
    gradient that stands for the difference to the baseline.

    A function without a rule passes with its own gradient if it is linear between the two, which
    is tested at their midpoint. Whatever cannot be followed raises METHOD_UNSUPPORTED.
    """

    def __init__(self, rules: Mapping[Function, PairRule]) -> None:
        """Makes a mode for one run of a table of rules by function."""
        super().__init__({function: partial(rule, self) for function, rule in rules.items()})
        # Weak, so that a pair goes when the model lets go of its tensor.
        self._pairs = WeakTensorKeyDictionary()

    def __torch_function__(
        self,
        func: Function,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch for every function while the mode is on."""
        paired = [tensor for tensor in _tensors((args, kwargs)) if self._is_followed(func, tensor)]
        if not paired:
            return func(*args, **(kwargs or {}))
        if not all(tensor.is_floating_point() for tensor in paired):
            return self._decide(func, args, kwargs or {})
        return super().__torch_function__(func, types, args, kwargs)

    def is_paired(self, *values: Any) -> bool:
        """Whether any tensor among the values depends on the input."""
        return any(tensor in self._pairs for tensor in _tensors(values))

    def baseline(self, value: Any) -> Any:
        """The value with every tensor replaced by what the baseline became there."""
        return _mapped(lambda tensor: self._pairs.get(tensor, tensor), value)

    def pair(self, result: Any, reference: Any, function: Function | None = None) -> Any:
        """Keeps `reference` as the pair of `result`, tensor by tensor, and returns `result`."""
        for tensor, baseline in zip(_tensors(result), _tensors(reference), strict=True):
            if tensor.requires_grad:
                self._pairs[tensor] = baseline
            elif torch.equal(tensor, baseline):
                continue
            elif tensor.is_floating_point():
                raise _refusal(function, "cuts the gradient")
            else:
                self._pairs[tensor] = baseline
        return result

    def replace(
        self, function: Function, first: Tensor, surrogate: Tensor, value: Tensor, reference: Tensor
    ) -> Tensor:
        """The result of a rule: a value, with the gradient of a surrogate for it.

        Args:
            function: the function that the rule stands in for.
            first: its first argument, which is written to if the function works in place.
            surrogate: differentiable; its gradient is taken.
            value: of the function at the input, without gradient.
            reference: of the function at the baseline.
        """
        result = with_gradient_of(surrogate, value)
        if not in_place(function):
            self.pair(result, reference, function)
            return result
        self._own(first)
        self._pairs[first].copy_(reference)
        first.copy_(result)
        return first

    def run(self, function: Function, /, *args: Any, **kwargs: Any) -> Any:
        """Runs a linear function on both."""
        if in_place(function):
            self._own(args[0])
        with torch.no_grad():
            reference = function(*self.baseline(args), **self.baseline(kwargs))
        result = function(*args, **kwargs)
        if name_of(function) in _READERS and result != reference:
            raise _refusal(function, "lets the network decide by a value of its own")
        return self.pair(result, reference, function)

    def without_rule(self, function: Function, /, *args: Any, **kwargs: Any) -> Any:
        """Passes a function that proves linear between input and baseline."""
        with torch.no_grad():
            middle = self._at_midpoint(function, args, kwargs) if in_place(function) else None
        result = self.run(function, *args, **kwargs)
        if not any(tensor.is_floating_point() for tensor in _tensors(result)):
            return result
        with torch.no_grad():
            middle = self._at_midpoint(function, args, kwargs) if middle is None else middle
            ends = zip(_tensors(result), _tensors(self.baseline(result)), strict=True)
            means = [end.detach() / 2 + other / 2 for end, other in ends]
        if not all(map(_is_close, means, _tensors(middle))):
            raise _refusal(function, "is not linear, and has no rule")
        return result

    def _is_followed(self, function: Function, tensor: Tensor) -> bool:
        """Whether a tensor depends on the input; refuses one whose pair was lost on the way."""
        if tensor in self._pairs:
            return True
        if tensor.requires_grad:
            raise _refusal(
                function, "is given a tensor made by code that cannot be followed (TorchScript?)"
            )
        return False

    def _decide(self, function: Function, args: Any, kwargs: Any) -> Any:
        """Runs a function of indices or masks that are others for the baseline."""
        result = self.run(function, *args, **kwargs)
        if in_place(function) or any(tensor.is_floating_point() for tensor in _tensors(result)):
            raise _refusal(function, "takes a mask or index that depends on the input")
        return result

    def _own(self, tensor: Tensor) -> None:
        """Gives a constant that is about to be written to a pair of its own."""
        if tensor not in self._pairs:
            self._pairs[tensor] = tensor.detach().clone()

    def _at_midpoint(self, function: Function, args: Any, kwargs: Any) -> Any:
        if in_place(function):
            self._own(args[0])

        def middle(tensor: Tensor) -> Tensor:
            if tensor not in self._pairs:
                return tensor
            other: Tensor = self._pairs[tensor]
            return tensor.detach() / 2 + other / 2

        return function(*_mapped(middle, args), **_mapped(middle, kwargs))


def _is_close(mean: Tensor, middle: Tensor) -> bool:
    if not middle.is_floating_point():
        return True  # indices: the halves of both make no index
    scale = mean.nan_to_num(nan=0, posinf=0, neginf=0).abs().max() if mean.numel() else 0
    tolerance = float(scale * torch.finfo(mean.dtype).eps ** 0.5)
    return torch.allclose(mean, middle, rtol=0, atol=tolerance, equal_nan=True)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(change, item) for key, item in value.items()}
    if isinstance(value, list | tuple) and any(True for _ in _tensors(value)):
        items = [_mapped(change, item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def _refusal(function: Function | None, why: str) -> MethodError:
    name = name_of(function) if function else "the network"
    return MethodError(
        Reason.METHOD_UNSUPPORTED,
        f"DeepLIFT cannot follow this network: {name} {why}; use integrated_gradients or "
        "kernel_shap instead",
        function=name,
    )
