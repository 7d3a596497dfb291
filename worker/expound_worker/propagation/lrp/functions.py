"""The torch functions that models call, by what they do to relevance."""

import torch

from expound_worker.propagation.functions import named

CONVOLUTIONS = named("conv1d conv2d conv3d")
TRANSPOSED_CONVOLUTIONS = named("conv_transpose1d conv_transpose2d conv_transpose3d")
DENSE = named("linear")
BATCH_NORM = named("batch_norm")
LAYER_NORM = named("layer_norm")
GROUP_NORM = named("group_norm")

ACTIVATIONS = named(
    "relu relu6 hardtanh hardswish silu gelu mish elu selu celu leaky_relu prelu rrelu softplus "
    "tanh hardshrink softshrink threshold log_sigmoid clamp clip clamp_min clamp_max abs "
    "square pow sqrt"
)
GATES = named("sigmoid hardsigmoid")
"""Activations between 0 and 1, which open and close other signals."""
SCALINGS = named("neg negative rms_norm dropout alpha_dropout feature_dropout")
"""Products of the input with a factor that is constant, or taken as constant."""

MOVES = named(
    "view reshape flatten unflatten permute transpose swapaxes swapdims movedim moveaxis t adjoint "
    "squeeze unsqueeze expand expand_as broadcast_to repeat tile repeat_interleave view_as "
    "reshape_as contiguous clone alias to type type_as float double cat concat concatenate stack "
    "hstack vstack chunk split split_with_sizes unbind tensor_split unfold im2col __getitem__ "
    "__setitem__ slice select narrow index index_select gather take_along_dim roll flip fliplr "
    "flipud rot90 pad constant_pad_nd masked_fill where pixel_shuffle pixel_unshuffle "
    "channel_shuffle diagonal"
) | {torch.Tensor.T.__get__, torch.Tensor.mT.__get__}  # type: ignore[attr-defined]
"""Functions each of whose outputs is one of the inputs, or constant."""
CHOICES = named(
    "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "max min amax amin maximum minimum"
)
"""Functions each of whose outputs is the largest or smallest of some inputs."""

ADDITIONS = named("add sub subtract rsub")
MULTIPLICATIONS = named("mul multiply")
DIVISIONS = named("div divide true_divide")
MEANS = named(
    "sum mean avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d upsample_nearest1d upsample_nearest2d _upsample_nearest_exact2d "
    "upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa upsample_bicubic2d "
    "_upsample_bicubic2d_aa"
)
"""Weighted sums of one input, with constant weights."""

PRODUCTS = named("matmul mm bmm mv dot")
EINSUM = named("einsum")
ADDED_PRODUCTS = named("addmm baddbmm")
SOFTMAX = named("softmax")
ATTENTION = named("scaled_dot_product_attention")
GATED = named("glu")
