"""The mode that hands the relevance of a model's score down to its input."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from expound_worker.propagation import compositions
from expound_worker.propagation.functions import Function, in_place, name_of
from expound_worker.propagation.lrp import functions as known
from expound_worker.propagation.lrp import norms
from expound_worker.propagation.lrp.composites import Composite
from expound_worker.propagation.lrp.facts import Facts
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
from expound_worker.propagation.mode import Rule, RuleMode, by_function


class RelevanceMode(RuleMode):
    """Runs a model so that the gradient of its output is its input's relevance.

    - In-place functions are run on a copy, which then stands for the tensor: relevance needs the
      values that the function overwrites.
    - A batch norm right after a layer is folded into it, as if the layer had other weights; any
      other is a layer of its own, with the epsilon rule.
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
        self._facts = Facts(inputs, bounds)
        self._changed = WeakTensorKeyDictionary()
        self._layers = WeakTensorKeyDictionary()

    def _table(self) -> dict[Function, Rule]:
        layers = known.CONVOLUTIONS | known.TRANSPOSED_CONVOLUTIONS | known.DENSE
        return by_function(
            (layers, self._layer),
            (known.BATCH_NORM, self._batch_norm),
            (known.LAYER_NORM, _standing_for(norms.layer_norm)),
            (known.GROUP_NORM, _standing_for(norms.group_norm)),
            (known.ACTIVATIONS, passed),
            (known.GATES, self._gate),
            (known.SCALINGS, self._followed(passed)),
            (known.MOVES | known.CHOICES, self._followed(moved)),
            (known.ADDITIONS, self._addition),
            (known.MULTIPLICATIONS, self._multiplication),
            (known.DIVISIONS, self._division),
            (known.MEANS, proportional),
            (known.PRODUCTS, self._product),
            (known.EINSUM, uniform),
            (known.SOFTMAX, softmax),
            (known.ADDED_PRODUCTS, self._composed(compositions.added_product)),
            (known.ATTENTION, self._composed(compositions.scaled_dot_product_attention)),
            (known.GATED, self._composed(compositions.glu)),
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
        if not in_place(func):
            return super().__torch_function__(func, types, args, kwargs)
        rule: Rule = self._rules.get(func, unknown)
        self._changed[args[0]] = changed = rule(_on_a_copy(func), *args, **kwargs)
        return changed

    def without_rule(self, function: Function, /, *args: Any, **kwargs: Any) -> Any:
        """What a function without a rule does: it fails as soon as relevance comes to it."""
        return unknown(function, *args, **kwargs)

    def latest(self, value: Any) -> Any:
        """What stands for a tensor after the in-place functions that were called on it."""
        while isinstance(value, Tensor) and value in self._changed:
            value = self._changed[value]
        return value

    def _layer(
        self,
        function: Function,
        input: Tensor,
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
        bounds = self._facts.bounds(x)
        if bounds is not None and composite.first is not None:
            rule = composite.first(bounds)
        elif layer.function in known.CONVOLUTIONS | known.TRANSPOSED_CONVOLUTIONS:
            rule = composite.convolution
        else:
            rule = composite.dense
        values = x.detach()
        return attach(output, [x], lambda relevances: [rule(layer, values, relevances[0])])

    def _batch_norm(self, function: Function, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        affine = norms.batch_norm(*args, **kwargs)
        if affine is None:
            return unknown(function, input, *args, **kwargs)
        if input in self._layers:
            layer, x = self._layers[input]
            output = function(input.detach(), *args, **kwargs)
            return self._through(layer.scaled(*affine), x, output)
        return self._affine(function, input, *args, **kwargs)

    def _affine(self, function: Function, *args: Any, **kwargs: Any) -> Any:
        """For a sum with a constant: that keeps a share, but where the input itself is shifted."""
        (x,) = carriers(args, kwargs)
        rule = proportional if self._facts.bounds(x) is None else self._followed(passed)
        return rule(function, *args, **kwargs)

    def _gate(self, function: Function, *args: Any, **kwargs: Any) -> Tensor:
        result = passed(function, *args, **kwargs)
        self._facts.add_gate(result)
        return result

    def _addition(self, function: Function, *args: Any, **kwargs: Any) -> Any:
        rule = self._affine if len(carriers(args, kwargs)) == 1 else proportional
        return rule(function, *args, **kwargs)

    def _multiplication(self, function: Function, input: Any, other: Any) -> Any:
        if not (carries(input) and carries(other)):
            return self._followed(passed)(function, input, other)
        shape = torch.broadcast_shapes(input.shape, other.shape)
        gates = [self._facts.is_gate(factor, shape) for factor in (input, other)]
        if gates == [True, False]:
            return passed(function, input.detach(), other)
        if gates == [False, True]:
            return passed(function, input, other.detach())
        return uniform(function, input, other)

    def _division(self, function: Function, input: Any, other: Any, **kwargs: Any) -> Any:
        if not carries(input):
            return unknown(function, input, other, **kwargs)
        divisor = other.detach() if carries(other) else other
        return self._followed(passed)(function, input, divisor, **kwargs)

    def _product(self, function: Function, first: Tensor, second: Tensor) -> Tensor:
        """Products of matrices: a dense layer where the second is constant."""
        if carries(second):
            return uniform(function, first, second)
        layer = Layer(lambda x, weight, bias: function(x, weight), second, None, (), {})
        return self._through(layer, first, function(first.detach(), second))

    def _composed(self, composition: Function) -> Rule:
        """A rule that runs a composition of other functions, each of which has its rule."""

        def rule(function: Function, *args: Any, **kwargs: Any) -> Any:
            with self:
                return composition(*args, **kwargs)

        return rule

    def _followed(self, rule: Rule) -> Rule:
        """The rule for functions that leave the input what it is, and gates gates."""

        def followed(function: Function, *args: Any, **kwargs: Any) -> Any:
            result = rule(function, *args, **kwargs)
            self._facts.follow(function, args, kwargs, result)
            return result

        return followed


def _standing_for(linear: Function) -> Rule:
    """A rule for a function that stands for another: one that is linear."""
    return lambda function, *args, **kwargs: proportional(linear, *args, **kwargs)


def _on_a_copy(function: Function) -> Function:
    """An in-place function that leaves its first argument as it is, and returns a changed copy."""

    def on_a_copy(target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        copy = target.clone()
        function(copy, *args, **kwargs)
        return copy

    on_a_copy.__name__ = name_of(function)
    return on_a_copy
