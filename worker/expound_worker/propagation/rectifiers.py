"""The gradient through a network whose rectifiers have another backward rule."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from expound.reasons import Reason
from expound_worker.methods.method import LOGIT, Answer, Batch, MethodError
from expound_worker.models.model import Model
from expound_worker.propagation.functions import Function, in_place, name_of, named
from expound_worker.propagation.mode import RuleMode, by_function
from expound_worker.propagation.values import own_functions, with_gradient_of

Rule = Callable[..., Tensor]
"""Called as ``rule(function, first, *args, **kwargs)`` in place of a rectifier."""


@dataclass
class Activations:
    """Names of the activations that a run has met."""

    rectifiers: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)

    def refusal(self) -> str | None:
        """Why a rule for rectifiers alone says nothing of the network; None if it does."""
        instead = "use deep_lift or integrated_gradients instead"
        if self.others:
            met = ", ".join(sorted(self.others))
            return f"only the gradient of ReLU is changed, and the network has {met}: {instead}"
        if not self.rectifiers:
            return f"the network has no ReLU, and the map would be the plain gradient: {instead}"
        return None


class Refusals:
    """Why models cannot have a method for rectifiers: found once for each, by a run on zeros."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[nn.Module, str | None] = WeakKeyDictionary()

    def of(self, model: Model) -> str | None:
        """Why not, and what to use instead; None for a model that can."""
        if model.module not in self._known:
            zeros = torch.zeros(1, *model.input_shape, device=model.device)
            _, activations = _run(model.module, zeros.requires_grad_(), guided)
            self._known[model.module] = activations.refusal()
        return self._known[model.module]


class RectifierMode(RuleMode):
    """Calls a rule in place of every rectifier: a function that is 0 below 0, and linear above.

    ReLU6 and clamps from 0 are rectifiers too. Gates of whole channels or positions (a sigmoid,
    a tanh) are left as they are, and so are softmax and clamps between other numbers. The
    activations that were met are kept; those of constants, such as position biases made of
    parameters, do not count.

    What can make an activation of a map counts as one: a sigmoid of each of its values, its product
    with another map (SiLU and hard swish by hand), its maximum with something, a comparison (ReLU
    as ``x * (x > 0)``). So do functions with a backward pass of the network's own.
    """

    def __init__(self, rule: Rule) -> None:
        """Makes a mode for one run."""
        table = (
            (_CLAMPS | _BOUNDED, self._bounded),
            (_OTHERS, self._other),
            (_GATES, self._gate),
            (_PRODUCTS, self._product),
            (_CHOICES, self._choice),
            (_COMPARISONS, self._comparison),
        )
        super().__init__(by_function(*table))
        self._rule = rule
        self.activations = Activations()

    def _bounded(self, function: Function, first: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if first.requires_grad and _is_rectifier(function, *args, **kwargs):
            self.activations.rectifiers.add(_plain_name(function))
            return self._rule(function, first, *args, **kwargs)
        if first.requires_grad and not _is_range(function, *args, **kwargs):
            self.activations.others.add(_plain_name(function))
        result: Tensor = function(first, *args, **kwargs)
        return result

    def _other(self, function: Function, first: Tensor, *args: Any, **kwargs: Any) -> Any:
        if first.requires_grad:
            self.activations.others.add(_plain_name(function))
        return function(first, *args, **kwargs)

    def _gate(self, function: Function, first: Tensor, *args: Any, **kwargs: Any) -> Any:
        if _is_map(first):
            self.activations.others.add(_plain_name(function))
        return function(first, *args, **kwargs)

    def _product(self, function: Function, first: Any, other: Any, **kwargs: Any) -> Any:
        if first is not other and _is_map(first) and _is_map(other):
            self.activations.others.add("products of maps")
        return function(first, other, **kwargs)

    def _choice(self, function: Function, *args: Any, **kwargs: Any) -> Any:
        both = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if len(both) == 2 and any(map(_is_map, both)):
            self.activations.others.add(_plain_name(function))
        return function(*args, **kwargs)

    def _comparison(self, function: Function, *args: Any, **kwargs: Any) -> Any:
        if any(map(_is_map, (*args, *kwargs.values()))):
            self.activations.others.add("comparisons of maps")
        return function(*args, **kwargs)


def guided(function: Function, first: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Passes a gradient where it is positive and the rectifier is open."""
    given = first.clone() if in_place(function) else first
    return _filtered(function, first, function(given, *args, **kwargs))


def deconvolved(function: Function, first: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Passes a gradient where it is positive, whether the rectifier is open or not."""
    with torch.no_grad():
        given = first.clone() if in_place(function) else first
        value = function(given, *args, **kwargs)
    return _filtered(function, first, with_gradient_of(first, value))


def explain(model: Model, batch: Batch, rule: Rule) -> list[Answer]:
    """Gradient (C, H, W) of each target's score by its input, with a rule for the rectifiers.

    Raises:
        MethodError: METHOD_UNSUPPORTED if the network has other activations, or no rectifier.
    """
    leaf = batch.inputs.detach().clone().requires_grad_()
    logits, activations = _run(model.module, leaf, rule)
    refusal = activations.refusal()
    if refusal is not None:
        raise MethodError(Reason.METHOD_UNSUPPORTED, refusal)
    seeds = torch.zeros_like(logits).scatter(1, batch.targets[:, None], 1)
    (gradients,) = torch.autograd.grad(logits, leaf, seeds)
    return [
        Answer(values, LOGIT, output=logit, evaluations=1)
        for values, logit in zip(gradients.float().cpu().numpy(), batch.logits, strict=True)
    ]


def _run(module: nn.Module, leaf: Tensor, rule: Rule) -> tuple[Tensor, Activations]:
    """The logits (N, classes) of a leaf, with a rule for the rectifiers, and what was met."""
    mode = RectifierMode(rule)
    with torch.enable_grad(), mode:
        logits: Tensor = module(leaf)
    mode.activations.others.update(own_functions(logits))
    return logits, mode.activations


def _is_map(value: Any) -> bool:
    """Whether a value has numbers that depend on the input for each channel and position.

    What has one for all channels, or for all positions, is no more than a gate of others.
    """
    if not isinstance(value, Tensor) or not value.requires_grad:
        return False
    if value.is_complex() or value.ndim < 3:
        return False
    dimensions = zip(value.shape[1:], value.stride()[1:], strict=True)
    return all(size > 1 and stride > 0 for size, stride in dimensions)


def _is_range(function: Function, *args: Any, **kwargs: Any) -> bool:
    """Whether a bounded function keeps values within a range of numbers, whatever they are."""
    bounds = (*args, *kwargs.values())
    return function in _CLAMPS and not any(isinstance(bound, Tensor) for bound in bounds)


def _plain_name(function: Function) -> str:
    return name_of(function).rstrip("_")


def _is_rectifier(function: Function, *args: Any, **kwargs: Any) -> bool:
    """Whether a bounded function is 0 below 0 with these arguments, which follow its input."""
    match name_of(function).rstrip("_"):
        case "relu" | "relu6":
            return True
        case "hardtanh":
            lowest = args[0] if args else kwargs.get("min_val")
        case "threshold":
            bounds = (*args, *kwargs.values())
            return all(bound == 0 for bound in bounds)
        case _:
            lowest = args[0] if args else kwargs.get("min")
    return isinstance(lowest, int | float) and lowest == 0


def _filtered(function: Function, first: Tensor, output: Tensor) -> Tensor:
    """What the rectifier gives: an output that hands down the positive part of a gradient.

    In place it is copied, so that the rule holds for whatever `first` is a view of, too.
    """
    output.register_hook(_positive)
    return first.copy_(output) if in_place(function) else output


def _positive(gradient: Tensor) -> Tensor:
    return gradient.clamp(min=0)


_CLAMPS = named("clamp clip clamp_min")
_BOUNDED = named("relu relu6 hardtanh threshold")
_OTHERS = named(
    "gelu silu hardswish elu celu selu mish softplus log_sigmoid leaky_relu prelu rrelu glu "
    "hardshrink softshrink"
)
_GATES = named("sigmoid expit hardsigmoid tanh erf atan arctan abs absolute")
_PRODUCTS = named("mul multiply __mul__ __rmul__ __imul__")
_CHOICES = named("maximum minimum fmax fmin max min")
_COMPARISONS = named("gt lt ge le greater less")
