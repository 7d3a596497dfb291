"""The rules of layers with weights: epsilon, gamma, z-plus, z-box and flat.

Each splits the relevance of an output among its inputs in proportion to some contributions
``z = sum of x * w + b``: ``R_x = x * W^T (R / z)``. The rules differ in the contributions that they
count. As in zennit, ``z`` is moved away from zero by a stabilizer, and a share goes to the bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from expound_worker.propagation.functions import Function
from expound_worker.propagation.lrp.rules import STABILIZER, stabilize


@dataclass(frozen=True)
class Layer:
    """A linear function of its input: ``function(x, weight, bias, *rest, **options)``.

    Attributes:
        function: a convolution or a matrix product.
        weight: its first dimension is that of the output's channels, but in transposed ones.
        bias: (channels,), or None.
        rest: what follows the bias: stride, padding, ...
        options: the same, by name.
    """

    function: Function
    weight: Tensor
    bias: Tensor | None
    rest: tuple[Any, ...]
    options: dict[str, Any]

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's output with other weights."""
        output: Tensor = self.function(x, weight, bias, *self.rest, **self.options)
        return output

    def scaled(self, scale: Tensor, shift: Tensor) -> "Layer":
        """The layer whose output is ``scale * output + shift``, both (channels,)."""
        weight = self.weight * scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        bias = shift if self.bias is None else shift + scale * self.bias
        return replace(self, weight=weight, bias=bias)


class Bounds(NamedTuple):
    """The lowest and highest value that each element of a tensor can have."""

    low: Tensor
    high: Tensor


LayerRule = Callable[[Layer, Tensor, Tensor], Tensor]
"""Called as ``rule(layer, x, relevance)`` with the relevance of the output; gives that of ``x``."""


def epsilon(stabilizer: float) -> LayerRule:
    """All contributions; a large stabilizer takes up the relevance of weak outputs.

    Bach et al., 2015.
    """

    def rule(layer: Layer, x: Tensor, relevance: Tensor) -> Tensor:
        return _share(layer, relevance, [_Part(x, layer.weight, layer.bias)], stabilizer)

    return rule


def z_plus(layer: Layer, x: Tensor, relevance: Tensor) -> Tensor:
    """The positive contributions alone (Montavon et al., 2017)."""
    bias = None if layer.bias is None else layer.bias.clamp(min=0)
    parts = [_Part(x.clamp(min=0), layer.weight.clamp(min=0), bias)]
    if (x < 0).any():
        parts.append(_Part(x.clamp(max=0), layer.weight.clamp(max=0)))
    return _share(layer, relevance, parts)


def gamma(factor: float) -> LayerRule:
    """Contributions of the output's sign count ``1 + factor`` times (Montavon et al., 2019).

    In the form for inputs of both signs (Andéol et al., 2021).
    """

    def raised(values: Tensor, sign: int) -> Tensor:
        favoured = values.clamp(min=0) if sign > 0 else values.clamp(max=0)
        return values + factor * favoured

    def rule(layer: Layer, x: Tensor, relevance: Tensor) -> Tensor:
        output = layer(x, layer.weight, layer.bias)
        has_negative = bool((x < 0).any())
        total = torch.zeros_like(x)
        for sign in (1, -1):
            bias = None if layer.bias is None else raised(layer.bias, sign)
            parts = [_Part(x.clamp(min=0), raised(layer.weight, sign), bias)]
            if has_negative:
                parts.append(_Part(x.clamp(max=0), raised(layer.weight, -sign)))
            total += _share(layer, relevance * (output.sign() == sign), parts)
        return total

    return rule


def flat(layer: Layer, x: Tensor, relevance: Tensor) -> Tensor:
    """The same to each input that an output sees (Lapuschkin et al., 2019)."""
    return _share(layer, relevance, [_Part(torch.ones_like(x), torch.ones_like(layer.weight))])


def z_box(bounds: Bounds) -> LayerRule:
    """Contributions counted from the bounds of the input (Montavon et al., 2017).

    Those are ``x * w - low * max(w, 0) - high * min(w, 0)``.
    """

    def rule(layer: Layer, x: Tensor, relevance: Tensor) -> Tensor:
        parts = [
            _Part(x, layer.weight),
            _Part(bounds.low, layer.weight.clamp(min=0), sign=-1),
            _Part(bounds.high, layer.weight.clamp(max=0), sign=-1),
        ]
        return _share(layer, relevance, parts)

    return rule


class _Part(NamedTuple):
    """Some of the contributions: those of ``sign * layer(x, weight, bias)``."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None = None
    sign: int = 1


def _share(
    layer: Layer, relevance: Tensor, parts: Sequence[_Part], stabilizer: float = STABILIZER
) -> Tensor:
    """Splits the relevance in proportion to the contributions of all parts together."""
    with torch.enable_grad():
        inputs = [part.x.detach().requires_grad_() for part in parts]
        outputs = [
            part.sign * layer(x, part.weight, part.bias)
            for x, part in zip(inputs, parts, strict=True)
        ]
    share = relevance / stabilize(
        torch.stack([output.detach() for output in outputs]).sum(0), stabilizer
    )
    gradients = torch.autograd.grad(outputs, inputs, [share] * len(parts))
    with torch.no_grad():
        return torch.stack(
            [x * gradient for x, gradient in zip(inputs, gradients, strict=True)]
        ).sum(0)
