"""Functions written out in simpler ones, each of which has a rule of its own.

They are written so that no step is large where the result is not: a normalised tensor is a quotient
by its root mean square, a softmax the exponential of a difference. The usual ``rsqrt`` and
``exp / sum`` are as exact on paper, but lose digits in every layer where the baseline is empty.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def log_softmax(values: Tensor, dim: int, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    """``x - log sum exp x``."""
    values = values if dtype is None else values.to(dtype)
    return values - values.logsumexp(dim, keepdim=True)


def softmax(values: Tensor, dim: int, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    """``exp(log_softmax x)``."""
    return log_softmax(values, dim, dtype).exp()


def layer_norm(
    values: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """As `torch.layer_norm`."""
    dims = tuple(range(-len(normalized_shape), 0))
    return _scaled(_standardized(values, dims, eps), weight, bias)


def rms_norm(
    values: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """As `torch.rms_norm`."""
    dims = tuple(range(-len(normalized_shape), 0))
    floor = torch.finfo(values.dtype).eps if eps is None else eps
    return _scaled(_by_rms(values, dims, floor), weight, None)


def group_norm(
    values: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """As `torch.group_norm`."""
    grouped = values.reshape(values.shape[0], num_groups, -1)
    normal = _standardized(grouped, (-1,), eps).reshape(values.shape)
    return _scaled_channels(normal, weight, bias)


def batch_norm(values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """As `torch.batch_norm` by the statistics of the batch."""
    dims = (0, *range(2, values.dim()))
    return _scaled_channels(_standardized(values, dims, eps), weight, bias)


def instance_norm(
    values: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    """As `torch.instance_norm`."""
    if not use_input_stats:
        return torch.batch_norm(
            values, weight, bias, running_mean, running_var, False, momentum, eps, cudnn_enabled
        )
    dims = tuple(range(2, values.dim()))
    return _scaled_channels(_standardized(values, dims, eps), weight, bias)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As `torch.nn.functional.scaled_dot_product_attention`."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key = key.repeat_interleave(repeats, -3)
        value = value.repeat_interleave(repeats, -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = torch.dropout(scores.softmax(-1), dropout_p, dropout_p > 0)
    return weights @ value


def vector_norm(
    values: Tensor,
    ord: float = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """As `torch.linalg.vector_norm`."""
    values = values if dtype is None else values.to(dtype)
    dims = tuple(range(values.dim())) if dim is None else dim
    if ord == 2:
        return values.square().sum(dims, keepdim).sqrt()
    if ord == math.inf:
        return values.abs().amax(dims, keepdim)
    norm: Tensor = values.abs().pow(ord).sum(dims, keepdim).pow(1 / ord)
    return norm


def variance(
    values: Tensor,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """As `torch.var`, whose second argument may be `unbiased` alone."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    given = tuple(range(values.dim())) if dim is None else dim
    dims = (given,) if isinstance(given, int) else tuple(given)
    count = math.prod(values.shape[d] for d in dims)
    taken = float(unbiased) if correction is None else correction
    centred = values - values.mean(dims, keepdim=True)
    spread: Tensor = centred.square().sum(dims, keepdim) / max(count - taken, 0)
    return spread


def standard_deviation(values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """As `torch.std`."""
    return variance(values, *args, **kwargs).sqrt()


def cosine_similarity(first: Tensor, second: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """As `torch.cosine_similarity`."""
    norms = [vector_norm(x, 2, dim).clamp_min(eps) for x in (first, second)]
    return (first * second).sum(dim) / norms[0] / norms[1]


def glu(values: Tensor, dim: int = -1) -> Tensor:
    """As `torch.nn.functional.glu`."""
    signal, gate = values.chunk(2, dim)
    return signal * gate.sigmoid()


def added_product(
    values: Tensor, first: Tensor, second: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """As `torch.addmm` and `torch.baddbmm`."""
    return values * beta + (first @ second) * alpha


def _standardized(values: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    return _by_rms(values - values.mean(dims, keepdim=True), dims, eps)


def _by_rms(values: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    return values / (values.square().mean(dims, keepdim=True) + eps).sqrt()


def _scaled(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    scaled = values if weight is None else values * weight
    return scaled if bias is None else scaled + bias


def _scaled_channels(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (-1, *(1,) * (values.dim() - 2))
    parts = [part if part is None else part.view(shape) for part in (weight, bias)]
    return _scaled(values, *parts)
