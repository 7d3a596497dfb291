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
from expound_worker.propagation.values import with_gradient_of

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
            with torch.enable_grad():
                mode = RectifierMode(guided)
                with mode:
                    model.module(zeros.requires_grad_())
            self._known[model.module] = mode.activations.refusal()
        return self._known[model.module]


class RectifierMode(RuleMode):
    """Calls a rule in place of every rectifier: a function that is 0 below 0, and linear above.

    ReLU6 and clamps from 0 are rectifiers too. Gates (sigmoid, tanh, softmax) are left as they are.
    The activations that were met are kept; those of constants, such as position biases made of
    parameters, do not count.
    """

    def __init__(self, rule: Rule) -> None:
        """Makes a mode for one run."""
        super().__init__(by_function((_BOUNDED, self._bounded), (_OTHERS, self._other)))
        self._rule = rule
        self.activations = Activations()

    def _bounded(self, function: Function, first: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not first.requires_grad or not _is_rectifier(function, *args, **kwargs):
            result: Tensor = function(first, *args, **kwargs)
            return result
        self.activations.rectifiers.add(name_of(function).rstrip("_"))
        return self._rule(function, first, *args, **kwargs)

    def _other(self, function: Function, first: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if first.requires_grad:
            self.activations.others.add(name_of(function).rstrip("_"))
        result: Tensor = function(first, *args, **kwargs)
        return result


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
    mode = RectifierMode(rule)
    leaf = batch.inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        with mode:
            logits = model.module(leaf)
        refusal = mode.activations.refusal()
        if refusal is not None:
            raise MethodError(Reason.METHOD_UNSUPPORTED, refusal)
        scores = logits.gather(1, batch.targets[:, None])
        (gradients,) = torch.autograd.grad(scores.sum(), leaf)
    return [
        Answer(values, LOGIT, output=logit, evaluations=1)
        for values, logit in zip(gradients.float().cpu().numpy(), batch.logits, strict=True)
    ]


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


_BOUNDED = named("relu relu6 hardtanh threshold clamp clip clamp_min")
_OTHERS = named(
    "gelu silu hardswish elu celu selu mish softplus log_sigmoid leaky_relu prelu rrelu glu "
    "hardshrink softshrink"
)
