"""Norms, as the affine functions of their input that they are where their statistics are constant.

That the statistics are constant is the rule of AttnLRP (Achtibat et al., 2024).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """`torch.layer_norm`, its variance a constant: linear in ``x``."""
    normed = _fixed_norm(x, tuple(range(-len(normalized_shape), 0)), eps)
    return _affine(normed, weight, bias)


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """`torch.group_norm`, its variance a constant: linear in ``x``."""
    normed = _fixed_norm(x.reshape(x.shape[0], num_groups, -1), (2,), eps).reshape(x.shape)
    shape = (-1, *[1] * (x.ndim - 2))
    return _affine(
        normed,
        None if weight is None else weight.reshape(shape),
        None if bias is None else bias.reshape(shape),
    )


def _fixed_norm(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    variance, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
    return (x - mean) * (variance.detach() + eps).rsqrt()


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def batch_norm(
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> tuple[Tensor, Tensor] | None:
    """Scale and shift of `torch.batch_norm` by channel, from its arguments after the input.

    None where it takes its statistics from the batch.
    """
    if training or running_mean is None or running_var is None:
        return None
    scale = (running_var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -running_mean * scale
    return scale, shift if bias is None else shift + bias
