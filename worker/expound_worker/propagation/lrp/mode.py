"""The mode that hands the relevance of a model's score down to its input."""

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from expound_worker.propagation.lrp import functions as known
from expound_worker.propagation.lrp import attention, norms
from expound_worker.propagation.lrp.composites import Composite
from expound_worker.propagation.lrp.graph import attach, carriers, carries
from expound_worker.propagation.lrp.layers import Bounds, Layer
from expound_worker.propagation.lrp.rules import (
    moved,
    passed,
    proportional,
    softmax,
    uniform,
    unknown,
    unsupported,
)
from expound_worker.propagation.mode import Function, Rule, RuleMode, by_function


class _Mark(Enum):
    """What is known of a tensor besides its values."""

    GATE = auto()
    SUM = auto()


class RelevanceMode(RuleMode):
    """Runs a model so that the gradient of its output is its input's relevance.

    Beyond the rules it keeps what it must know of the tensors that it has met:

    - In-place functions are run on a copy, which then stands for the tensor: relevance needs the
      values that the function overwrites.
    - A batch norm right after a layer is folded into it, as if the layer had other weights.
    - What is still the input, moved or scaled pixel by pixel, has known bounds; layers that see it
      are the first ones.
    - In a product the factor that is a gate (from a sigmoid, or broadcast) is constant.
    """

    def __init__(self, composite: Composite, inputs: Tensor, bounds: Bounds) -> None:
        """Makes a mode for one run.

        Args:
            composite: the rules of the layers.
            inputs: (N, C, H, W), a leaf that requires a gradient.
            bounds: of the inputs, of shapes that broadcast to theirs.
        """
        super().__init__(self._table())
        self._composite = composite
        self._changed = WeakTensorKeyDictionary()
        self._layers = WeakTensorKeyDictionary()
        self._marks = WeakTensorKeyDictionary()
        self._bounds = WeakTensorKeyDictionary()
        self._bounds[inputs] = Bounds(bounds.low.expand_as(inputs), bounds.high.expand_as(inputs))

    def _table(self) -> dict[Function, Rule]:
        layers = known.CONVOLUTIONS | known.TRANSPOSED_CONVOLUTIONS | known.DENSE
        return by_function(
            (layers, self._layer),
            (known.BATCH_NORM, self._batch_norm),
            (known.ACTIVATIONS | known.DROPOUTS, passed),
            (known.SCALINGS, self._followed(passed)),
            (known.GATES, self._gate),
            (known.MOVES | known.CHOICES, self._followed(moved)),
            (known.ADDITIONS, self._addition),
            (known.MULTIPLICATIONS, self._multiplication),
            (known.DIVISIONS, self._division),
            (known.MEANS, proportional),
            (known.PRODUCTS, self._product),
            (known.SOFTMAX, softmax),
            (known.LAYER_NORM, _instead(norms.layer_norm)),
            (known.GROUP_NORM, _instead(norms.group_norm)),
            (known.ATTENTION, self._written_out(attention.scaled_dot_product_attention)),
            (known.MULTI_HEAD_ATTENTION, self._written_out(attention.multi_head_attention)),
        )

    def __torch_function__(
        self,
        func: Function,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch for every function while the mode is on."""
        args, kwargs = pytree.tree_map(self.latest, (args, dict(kwargs or {})))
        if not torch.is_grad_enabled() or not carriers(args, kwargs):
            return func(*args, **kwargs)
        rule = self._rules.get(func, unknown)
        if not known.works_in_place(func, args, kwargs):
            return rule(func, *args, **kwargs)
        changed = rule(_on_a_copy(func), *args, **kwargs)
        self._changed[args[0]] = changed
        return changed

    def latest(self, value: Any) -> Any:
        """What stands for a tensor after the in-place functions that were called on it."""
        while isinstance(value, Tensor) and value in self._changed:
            value = self._changed[value]
        return value

    def _layer(
        self,
        function: Function,
        input: Tensor,  # noqa: A002: its name in the functions
        weight: Tensor,
        bias: Tensor | None = None,
        *rest: Any,
        **options: Any,
    ) -> Tensor:
        if carries(weight) or carries(bias):
            unsupported(function)
        layer = Layer(function, weight, bias, rest, options)
        result = self._through(layer, input, layer(input.detach(), weight, bias))
        if function in known.CONVOLUTIONS or input.ndim == 2:
            self._layers[result] = (layer, input)
        return result

    def _through(self, layer: Layer, x: Tensor, output: Tensor) -> Tensor:
        """The output of a layer, with the rule that the composite has for it."""
        composite = self._composite
        bounds = self._bounds.get(x)
        if bounds is not None and composite.first is not None:
            rule = composite.first(bounds)
        elif layer.function in known.CONVOLUTIONS | known.TRANSPOSED_CONVOLUTIONS:
            rule = composite.convolution
        else:
            rule = composite.dense
        values = x.detach()
        return attach(output, [x], lambda relevances: [rule(layer, values, relevances[0])])

    def _batch_norm(self, function: Function, input: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        affine = norms.batch_norm(function, *args, **kwargs)
        if affine is None:
            return unknown(function, input, *args, **kwargs)
        if input in self._layers:
            layer, x = self._layers[input]
            output = function(input.detach(), *args, **kwargs)
            return self._through(layer.scaled(*affine), x, output)
        if input in self._bounds:
            return self._followed(passed)(function, input, *args, **kwargs)
        passes = self._composite.passes_batch_norm and self._marks.get(input) is not _Mark.SUM
        return (passed if passes else proportional)(function, input, *args, **kwargs)

    def _gate(self, function: Function, *args: Any, **kwargs: Any) -> Tensor:
        return self._marked(_Mark.GATE, passed(function, *args, **kwargs))

    def _addition(self, function: Function, *args: Any, **kwargs: Any) -> Tensor:
        inputs = carriers(args, kwargs)
        if len(inputs) == 1 and inputs[0] in self._bounds:
            return self._followed(passed)(function, *args, **kwargs)
        result = proportional(function, *args, **kwargs)
        return result if len(inputs) == 1 else self._marked(_Mark.SUM, result)

    def _multiplication(self, function: Function, *args: Any, **kwargs: Any) -> Any:
        if len(carriers(args)) < 2:
            return self._followed(passed)(function, *args, **kwargs)
        one, other = args
        shape = torch.broadcast_shapes(one.shape, other.shape)
        if self._is_gate(one, shape) == self._is_gate(other, shape):
            return uniform(function, one, other)
        if self._is_gate(one, shape):
            return passed(function, one.detach(), other)
        return passed(function, one, other.detach())

    def _is_gate(self, factor: Tensor, shape: torch.Size) -> bool:
        return self._marks.get(factor) is _Mark.GATE or factor.shape != shape

    def _marked(self, mark: _Mark, result: Tensor) -> Tensor:
        self._marks[result] = mark
        return result

    def _division(self, function: Function, *args: Any, **kwargs: Any) -> Any:
        numerator, denominator = args
        if not carries(numerator):
            return unknown(function, *args, **kwargs)
        if carries(denominator):
            denominator = denominator.detach()
        return self._followed(passed)(function, numerator, denominator, **kwargs)

    def _product(self, function: Function, *args: Any, **kwargs: Any) -> Tensor:
        """Products of matrices: a dense layer where the second is constant."""
        if function not in known.EINSUM and len(carriers(args)) == 1 and carries(args[0]):
            layer = Layer(function, args[1], None, (), {})
            return self._through(layer, args[0], function(args[0].detach(), args[1]))
        return uniform(function, *args, **kwargs)

    def _written_out(self, composition: Function) -> Rule:
        """A rule that calls other functions in place of one, each of which has its rule."""

        def rule(function: Function, *args: Any, **kwargs: Any) -> Any:
            with self:
                return composition(*args, **kwargs)

        return rule

    def _followed(self, rule: Rule) -> Rule:
        """The rule for functions that leave the input what it is, and gates gates."""

        def followed(function: Function, *args: Any, **kwargs: Any) -> Any:
            result = rule(function, *args, **kwargs)
            inputs = carriers(args, kwargs)
            outputs = carriers(result)
            marks = {self._marks.get(x) for x in inputs}
            if len(marks) == 1 and None not in marks:
                self._marks.update((output, marks.pop()) for output in outputs)
            if all(x in self._bounds for x in inputs):
                ends = [self._end(side, function, args, kwargs) for side in (0, 1)]
                for output, one, other in zip(outputs, *ends, strict=True):
                    self._bounds[output] = Bounds(one.minimum(other), one.maximum(other))
            return result

        return followed

    def _end(
        self, side: int, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Tensor]:
        """The outputs where the inputs are at one of their bounds."""
        args, kwargs = pytree.tree_map(
            lambda value: self._bounds[value][side] if carries(value) else value, (args, kwargs)
        )
        result = pytree.tree_leaves(function(*args, **kwargs))
        return [output for output in result if output.is_floating_point()]


def _instead(linear: Function) -> Rule:
    """A rule for a function that stands for another: one that is linear."""
    return lambda function, *args, **kwargs: proportional(linear, *args, **kwargs)


def _on_a_copy(function: Function) -> Function:
    """An in-place function that leaves its first argument as it is, and returns a changed copy."""

    def on_a_copy(target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        copy = target.clone()
        function(copy, *args, **kwargs)
        return copy

    on_a_copy.__name__ = known.name_of(function)
    return on_a_copy
