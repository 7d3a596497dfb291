"""Attention, written out in functions that have rules."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention` without dropout.

    Shapes: query (..., L, E), key (..., S, E), value (..., S, V); the result (..., L, V).
    """
    scores = _scores(query, key, scale)
    if is_causal:
        scores = _masked(scores, _after(scores))
    if attn_mask is not None:
        scores = _masked(scores, ~attn_mask if attn_mask.dtype == torch.bool else attn_mask)
    return functional.softmax(scores, dim=-1) @ value


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: None,
    bias_v: None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    *,
    attn_mask: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """`torch.nn.functional.multi_head_attention_forward` without dropout and added keys.

    Shapes: query (L, N, E), key and value (S, N, E), the results (L, N, E) and (N, L, S); the same
    without N.
    """
    if query.ndim == 2:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        batched = False
    else:
        batched = True
    weights = (
        (q_proj_weight, k_proj_weight, v_proj_weight)
        if in_proj_weight is None
        else in_proj_weight.chunk(3)
    )
    biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
    query, key, value = (
        _heads(functional.linear(x, weight, bias), num_heads)
        for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    scores = _scores(query, key)
    if attn_mask is not None:
        scores = _masked(
            scores,
            attn_mask.reshape(-1, num_heads, *attn_mask.shape[-2:])
            if attn_mask.ndim == 3
            else attn_mask,
        )
    if key_padding_mask is not None:
        scores = _masked(scores, key_padding_mask.reshape(scores.shape[0], 1, 1, -1))
    attention = functional.softmax(scores, dim=-1)
    output = (attention @ value).permute(2, 0, 1, 3).flatten(2)
    output = functional.linear(output, out_proj_weight, out_proj_bias)
    if average_attn_weights:
        attention = attention.mean(dim=1)
    if not batched:
        output, attention = output.squeeze(1), attention.squeeze(0)
    return output, attention if need_weights else None


def _heads(x: Tensor, count: int) -> Tensor:
    """From (L, N, E) to (N, heads, L, E / heads)."""
    return x.unflatten(2, (count, -1)).permute(1, 2, 0, 3)


def _scores(query: Tensor, key: Tensor, scale: float | None = None) -> Tensor:
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return query @ key.transpose(-2, -1) * scale


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores with a mask: added to them, or of bool and true where nothing may be seen."""
    return scores.masked_fill(mask, -math.inf) if mask.dtype == torch.bool else scores + mask


def _after(scores: Tensor) -> Tensor:
    """(L, S) bool, true where a key is after the query."""
    return torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
