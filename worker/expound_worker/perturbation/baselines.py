"""Baselines: what stands in for a part of the image that is taken away."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from expound.reasons import Reason
from expound.tensors import from_tensor
from expound.v1 import method_pb2
from expound_worker.methods.method import MethodError
from expound_worker.models.preprocessing import Preprocessing

_BLUR_REACH = 3
"""Radius of the blur's kernel in standard deviations."""
_OF_NOISE = 0x9E3779B9
"""Makes another seed of a request's: the noise tunnel draws its copies from that one itself."""


def make_baseline(
    baseline: method_pb2.Baseline,
    preprocessing: Preprocessing,
    image: Tensor,
    seed: int,
    segments: NDArray[np.int32] | None = None,
    field: str = "baseline",
) -> Tensor:
    """Makes the baseline of an image.

    Args:
        baseline: which one, its defaults filled in.
        preprocessing: the model's; normalises colours.
        image: (C, H, W) float32 in model input units.
        seed: seed of the noise, which is the same on every device.
        segments: (H, W) segment of each pixel, for methods that have them.
        field: path of the baseline in the method's message, for errors.

    Returns:
        (C, H, W) float32 on the image's device, in model input units.

    Raises:
        MethodError: the baseline does not fit the image or the method.
    """
    kind = baseline.WhichOneof("baseline")
    match kind:
        case "zero":
            return torch.zeros_like(image)
        case "color":
            color = (baseline.color.red, baseline.color.green, baseline.color.blue)
            return preprocessing.normalize_color(color).to(image).expand_as(image).contiguous()
        case "blur":
            return _blurred(image, baseline.blur.sigma)
        case "noise":
            generator = torch.Generator().manual_seed(seed ^ _OF_NOISE)
            noise = torch.randn(image.shape, generator=generator)
            return (noise * baseline.noise.stdev).to(image)
        case "segment_mean":
            return _segment_means(image, segments, field)
        case "tensor":
            return _given(baseline, image, field)
        case _:
            raise MethodError(Reason.INVALID_FIELD, "a baseline must be chosen", field=field)


def make_baselines(
    baselines: Sequence[method_pb2.Baseline],
    preprocessing: Preprocessing,
    image: Tensor,
    seed: int,
) -> Tensor:
    """Makes the baselines of an image, for methods that take several: zero alone where none is set.

    Number i of them has the seed ``seed + i``, so that several noises are not the same.

    Returns:
        (K, C, H, W) float32 on the image's device, in model input units.

    Raises:
        MethodError: a baseline does not fit the image or the method.
    """
    chosen = baselines or [method_pb2.Baseline(zero=method_pb2.ZeroBaseline())]
    return torch.stack(
        [
            make_baseline(one, preprocessing, image, seed + index, field=f"baselines[{index}]")
            for index, one in enumerate(chosen)
        ]
    )


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Blurs along one axis and then along the other, which is the same and far cheaper.

    The image is mirrored at its edges, so the kernel must not reach beyond its length.
    """
    height, width = image.shape[1:]
    across = gaussian_blur(image, [_kernel_size(sigma, width), 1], [sigma, sigma])
    blurred: Tensor = gaussian_blur(across, [1, _kernel_size(sigma, height)], [sigma, sigma])
    return blurred


def _kernel_size(sigma: float, length: int) -> int:
    return 2 * min(math.ceil(_BLUR_REACH * sigma), length - 1) + 1


def _segment_means(image: Tensor, segments: NDArray[np.int32] | None, field: str) -> Tensor:
    if segments is None:
        raise MethodError(
            Reason.INVALID_FIELD,
            "segment_mean needs a method that cuts the image into segments: use zero, color, blur, "
            "noise or tensor",
            field=f"{field}.segment_mean",
        )
    index = torch.tensor(segments.ravel(), dtype=torch.long, device=image.device)
    sizes = torch.bincount(index).double()
    sums = torch.zeros(len(image), len(sizes), dtype=torch.float64, device=image.device)
    sums.index_add_(1, index, image.flatten(1).double())
    return (sums / sizes)[:, index].to(image).view_as(image)


def _given(baseline: method_pb2.Baseline, image: Tensor, field: str) -> Tensor:
    values = from_tensor(baseline.tensor)
    if values.shape != tuple(image.shape) or values.dtype not in (np.float32, np.float64):
        raise MethodError(
            Reason.INVALID_FIELD,
            f"the baseline must be FLOAT32 or FLOAT64 of the input's shape {list(image.shape)}, "
            f"not {values.dtype} of shape {list(values.shape)}",
            field=f"{field}.tensor",
        )
    tensor = torch.from_numpy(values.copy()).to(image)
    if not tensor.isfinite().all():
        raise MethodError(
            Reason.INVALID_FIELD,
            "the baseline must not have NaN or infinity",
            field=f"{field}.tensor",
        )
    return tensor
