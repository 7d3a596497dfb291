"""The table of DeepLIFT: which rule each function of torch has.

What is not listed passes if it proves linear (`PairMode.without_rule`), which costs a call more.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional

from expound_worker.propagation import compositions
from expound_worker.propagation.deep_lift import maxima, products, rescale
from expound_worker.propagation.deep_lift.composed import composed, log_sum_exp
from expound_worker.propagation.deep_lift.mode import PairMode, PairRule
from expound_worker.propagation.deep_lift.rescale import Slope, rescaled
from expound_worker.propagation.functions import Function, named
from expound_worker.propagation.mode import by_function


def _linear(pairs: PairMode, function: Function, *args: Any, **kwargs: Any) -> Any:
    """Functions that are linear in all that they are given."""
    return pairs.run(function, *args, **kwargs)


def _weighted(pairs: PairMode, function: Function, first: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Functions that are linear in the first argument, as long as the others are constant."""
    if pairs.is_paired(args, kwargs):
        return pairs.without_rule(function, first, *args, **kwargs)
    return pairs.run(function, first, *args, **kwargs)


def _input_alone(pairs: PairMode, function: Function, *args: Any, **kwargs: Any) -> Any:
    """Functions that take no more than a shape, or are about the gradient."""
    return function(*args, **kwargs)


def _power(pairs: PairMode, function: Function, first: Tensor, exponent: Any) -> Any:
    """A power, whose quotient is known for the usual exponents."""
    known = isinstance(exponent, int | float) and exponent in _POWERS
    slope = _POWERS[exponent] if known else rescale.scale_free
    return rescaled(slope)(pairs, function, first, exponent)


def _batch_norm(
    pairs: PairMode, function: Function, first: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Linear by its running statistics; else by those of each batch, inputs or baselines."""
    weight, bias, _, _, training, _, eps = args[:7]
    if not training:
        return _weighted(pairs, function, first, *args, **kwargs)
    return composed(compositions.batch_norm)(pairs, function, first, weight, bias, eps)


def _dropout(pairs: PairMode, function: Function, first: Tensor, p: float, train: bool) -> Any:
    """Linear where it does nothing."""
    run = pairs.without_rule if train else pairs.run
    return run(function, first, p, train)


_POWERS: dict[float, Slope] = {
    2: rescale.of_square,
    0.5: rescale.of_root,
    -0.5: rescale.of_reciprocal_root,
    -1: rescale.of_reciprocal,
}

_LINEAR = named(
    "add __add__ __radd__ __iadd__ sub subtract __sub__ __rsub__ __isub__ rsub neg negative "
    "__neg__ sum mean cumsum cat concat concatenate stack hstack vstack view view_as reshape "
    "flatten unflatten ravel permute transpose swapaxes movedim moveaxis t squeeze unsqueeze "
    "expand expand_as broadcast_to broadcast_tensors repeat repeat_interleave tile contiguous "
    "clone to type type_as float double __getitem__ __setitem__ narrow select split chunk unbind "
    "tensor_split split_with_sizes roll flip unfold im2col col2im pad avg_pool1d avg_pool2d "
    "avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d upsample_nearest2d "
    "upsample_bilinear2d upsample_bicubic2d pixel_shuffle pixel_unshuffle channel_shuffle"
)
_WEIGHTED = named(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear masked_fill"
)
_INPUT_ALONE = named(
    "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_tensor "
    "register_hook retain_grad requires_grad_"
)
_PIECEWISE_LINEAR = named(
    "relu relu6 hardtanh leaky_relu prelu threshold clamp clip clamp_min clamp_max abs absolute "
    "__abs__ hardshrink"
)
_SMOOTH = named(
    "gelu silu hardswish hardsigmoid softshrink elu celu selu mish softplus log_sigmoid sigmoid "
    "expit tanh erf sin cos expm1 log1p atan arctan sinh cosh"
)
_DISPATCHED_POOLS: tuple[Function, ...] = (
    functional.max_pool1d,
    functional.max_pool2d,
    functional.max_pool3d,
    functional.adaptive_max_pool1d,
    functional.adaptive_max_pool2d,
    functional.adaptive_max_pool3d,
)
_POOLS_WITH_INDICES = named(
    "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d "
    "adaptive_max_pool2d adaptive_max_pool3d"
).difference(_DISPATCHED_POOLS)

RULES: dict[Function, PairRule] = by_function(
    (_LINEAR, _linear),
    (_WEIGHTED, _weighted),
    (_INPUT_ALONE, _input_alone),
    (named("batch_norm"), _batch_norm),
    (named("dropout feature_dropout alpha_dropout feature_alpha_dropout"), _dropout),
    (_PIECEWISE_LINEAR, rescaled(rescale.piecewise_linear)),
    (_SMOOTH, rescaled(rescale.smooth)),
    (named("exp"), rescaled(rescale.of_exponential)),
    (named("log"), rescaled(rescale.of_logarithm)),
    (named("square"), rescaled(rescale.of_square)),
    (named("sqrt"), rescaled(rescale.of_root)),
    (named("rsqrt"), rescaled(rescale.of_reciprocal_root)),
    (named("reciprocal"), rescaled(rescale.of_reciprocal)),
    (named("pow __pow__ __ipow__"), _power),
    (
        named("mul multiply __mul__ __rmul__ __imul__ matmul __matmul__ __rmatmul__ mm bmm mv dot"),
        products.product,
    ),
    (named("einsum"), products.einsum),
    (named("div divide true_divide __truediv__ __itruediv__"), products.quotient),
    (named("max_pool1d max_pool2d max_pool3d").union(_DISPATCHED_POOLS), maxima.pool),
    (_POOLS_WITH_INDICES, maxima.pool_with_indices),
    (named("amax"), maxima.largest),
    (named("max maximum"), maxima.maximum),
    (named("logsumexp"), log_sum_exp),
    (named("log_softmax"), composed(compositions.log_softmax)),
    (named("softmax"), composed(compositions.softmax)),
    (named("layer_norm"), composed(compositions.layer_norm)),
    (named("group_norm"), composed(compositions.group_norm)),
    (named("instance_norm"), composed(compositions.instance_norm)),
    (named("rms_norm"), composed(compositions.rms_norm)),
    (named("vector_norm linalg_vector_norm"), composed(compositions.vector_norm)),
    (named("var"), composed(compositions.variance)),
    (named("std"), composed(compositions.standard_deviation)),
    (named("cosine_similarity"), composed(compositions.cosine_similarity)),
    (named("glu"), composed(compositions.glu)),
    (named("addmm baddbmm"), composed(compositions.added_product)),
    (
        named("scaled_dot_product_attention"),
        composed(compositions.scaled_dot_product_attention),
    ),
)
