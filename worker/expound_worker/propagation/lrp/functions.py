"""The torch functions that models call, by what they do to relevance."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

Function = Callable[..., Any]

_IN_PLACE_OPERATORS = {"__iadd__", "__isub__", "__imul__", "__itruediv__", "__setitem__"}


def named(names: str) -> set[Function]:
    """All the functions of some names.

    A name may stand for several: ``relu`` for `torch.relu`, `torch.nn.functional.relu`, the method
    of tensors, and ``torch.ops.aten.relu``, which exported programs call.
    """
    found: set[Function] = set()
    for name in names.split():
        for namespace in (torch, functional, torch.Tensor):
            function = getattr(namespace, name, None)
            if callable(function):
                found.add(function)
            elif hasattr(function, "__get__"):  # a property, such as Tensor.mT
                found.add(function.__get__)
        packet = getattr(torch.ops.aten, name, None)
        if packet is not None:
            found |= {getattr(packet, overload) for overload in packet.overloads()}
    return found


def name_of(function: Function) -> str:
    """Name of a function for people: ``torch.nn.functional.relu``."""
    name: str | None = torch.overrides.resolve_name(function)
    return name or getattr(function, "__name__", repr(function))


def works_in_place(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call changes its first argument."""
    name = getattr(function, "__name__", "").partition(".")[0]  # "relu_.default" in aten
    if name in _IN_PLACE_OPERATORS or (name.endswith("_") and not name.endswith("__")):
        return True
    flag = kwargs.get("inplace") or any(arg is True for arg in args)
    return bool(flag) and function in _WITH_FLAG


CONVOLUTIONS = named("conv1d conv2d conv3d")
TRANSPOSED_CONVOLUTIONS = named("conv_transpose1d conv_transpose2d conv_transpose3d")
DENSE = named("linear")
BATCH_NORM = named("batch_norm")

ACTIVATIONS = named(
    "relu relu_ relu6 hardtanh hardtanh_ hardswish hardswish_ silu silu_ gelu mish elu elu_ selu "
    "selu_ celu celu_ leaky_relu leaky_relu_ prelu rrelu softplus softsign tanh tanh_ tanhshrink "
    "hardshrink softshrink threshold threshold_ logsigmoid clamp clamp_ clip clamp_min clamp_min_ "
    "clamp_max clamp_max_ abs"
)
GATES = named("sigmoid sigmoid_ hardsigmoid hardsigmoid_")
"""Activations between 0 and 1, which open and close other signals."""
SCALINGS = named("neg negative normalize rms_norm local_response_norm")
"""Products of the input with a factor that is constant, or taken as constant."""
DROPOUTS = named(
    "dropout dropout_ dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout"
)

MOVES = named(
    "view reshape flatten unflatten permute transpose transpose_ swapaxes swapdims movedim moveaxis "
    "t T mT adjoint squeeze squeeze_ unsqueeze unsqueeze_ expand expand_as broadcast_to repeat tile "
    "repeat_interleave contiguous clone alias lift_fresh to type type_as float double view_as "
    "reshape_as cat concat concatenate stack hstack vstack chunk split split_with_sizes unbind "
    "tensor_split unfold im2col __getitem__ slice select narrow index index_select gather "
    "take_along_dim roll flip fliplr flipud rot90 pad constant_pad_nd masked_fill masked_fill_ "
    "where pixel_shuffle pixel_unshuffle channel_shuffle diagonal"
)
"""Functions each of whose outputs is one of the inputs, or constant."""
CHOICES = named(
    "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "max min amax amin maximum minimum"
)
"""Functions each of whose outputs is the largest or smallest of some inputs."""

ADDITIONS = named(
    "add add_ __add__ __radd__ __iadd__ sub sub_ subtract __sub__ __rsub__ rsub __isub__"
)
MULTIPLICATIONS = named("mul mul_ multiply __mul__ __rmul__ __imul__")
DIVISIONS = named("div div_ divide true_divide __truediv__ __div__ __itruediv__")
MEANS = named(
    "sum mean avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d interpolate upsample_nearest2d upsample_bilinear2d upsample_bicubic2d"
)
"""Linear functions of one input, with constant weights."""
EINSUM = named("einsum")
PRODUCTS = named("matmul __matmul__ mm bmm") | EINSUM
SOFTMAX = named("softmax")
LAYER_NORM = named("layer_norm")
GROUP_NORM = named("group_norm")
ATTENTION = named("scaled_dot_product_attention")
MULTI_HEAD_ATTENTION = named("multi_head_attention_forward")

_WITH_FLAG = ACTIVATIONS | GATES | DROPOUTS
"""Functions that work in place where a flag says so."""
