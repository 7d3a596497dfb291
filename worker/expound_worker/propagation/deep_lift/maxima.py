"""Maxima of what depends on the input, by DeepLIFT's cross rule."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from expound_worker.propagation.deep_lift.mode import PairMode
from expound_worker.propagation.functions import Function, name_of


def pool_with_indices(
    pairs: PairMode, function: Function, first: Tensor, *args: Any, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Max pooling of any padding, dilation, overlap and rounding, by the indices that it gives."""
    spatial = int(name_of(function).partition("pool")[2][0])  # max_pool2d_with_indices
    baseline = pairs.baseline(first)
    with torch.no_grad():
        value, index = function(first.detach(), *args, **kwargs)
        reference, other_index = function(baseline, *args, **kwargs)
    flat = [tensor.flatten(-spatial) for tensor in (first, baseline, index, other_index)]
    surrogate = _crossed(*flat).view(value.shape)
    result = pairs.replace(function, first, surrogate, value, reference)
    return result, pairs.pair(index, other_index)


def pool(
    pairs: PairMode, function: Function, first: Tensor, *args: Any, **kwargs: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """Max pooling without indices, by the same function with them."""
    wanted = kwargs.pop("return_indices", False)
    with_indices = getattr(functional, f"{name_of(function)}_with_indices")
    with pairs:
        result: tuple[Tensor, Tensor] = with_indices(first, *args, **kwargs)
    return result if wanted else result[0]


def largest(
    pairs: PairMode,
    function: Function,
    first: Tensor,
    dim: Any = (),
    keepdim: bool = False,
) -> Tensor:
    """`torch.amax`: the maximum over some dimensions; over all if none is named."""
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    dims = given or tuple(range(first.dim()))
    last = tuple(range(-len(dims), 0))
    baseline = pairs.baseline(first)
    with torch.no_grad():
        value = first.detach().amax(dims, keepdim)
        reference = baseline.amax(dims, keepdim)
    flat, other = (x.movedim(dims, last).flatten(-len(dims)) for x in (first, baseline))
    index, other_index = (x.detach().argmax(-1, keepdim=True) for x in (flat, other))
    surrogate = _crossed(flat, other, index, other_index).view(value.shape)
    return pairs.replace(function, first, surrogate, value, reference)


def maximum(pairs: PairMode, function: Function, first: Tensor, *args: Any, **kwargs: Any) -> Any:
    """`torch.max` and `torch.maximum` in all their forms."""
    second = args[0] if args else kwargs.get("other")
    with pairs:
        if not args and not kwargs:
            return first.amax()
        if isinstance(second, Tensor):
            return torch.stack(torch.broadcast_tensors(first, second)).amax(0)
        index = first.argmax(*args, **kwargs)
        return torch.return_types.max((first.amax(*args, **kwargs), index))


def _crossed(first: Tensor, baseline: Tensor, index: Tensor, other_index: Tensor) -> Tensor:
    """What has the gradient of the maximum over the last dimension.

    The difference of the maxima goes to the place of the larger one: there the input differs from
    the baseline at least as much, with the same sign, so that the multiplier is within 0 and 1.
    """
    with torch.no_grad():
        difference = first.gather(-1, index) - baseline.gather(-1, other_index)
        place = torch.where(difference >= 0, index, other_index)
        step = (first - baseline).gather(-1, place)
        multiplier = torch.where(step == 0, 1, difference / step)
    return first.gather(-1, place) * multiplier
