"""Segmentations: how an image is cut into the segments that are kept or taken away."""

import hashlib
from collections.abc import Callable
from threading import Condition

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb, quickshift, slic
from torch import Tensor

from expound.reasons import Reason
from expound.tensors import from_tensor
from expound.v1 import method_pb2
from expound_worker.methods.method import MethodError
from expound_worker.models.preprocessing import Preprocessing

MIN_SEGMENTS = 4
"""Fewer segments than these explain nothing, and are refused."""

_MAX_COMPACTNESS = 1000.0
_FINEST = 32
"""Cells along a side of the finest grid."""
_KEPT_BYTES = 64 * 1024 * 1024
"""What the segments of the last pictures may take."""


def _digest(
    segmentation: method_pb2.Segmentation, preprocessing: Preprocessing, image: Tensor, seed: int
) -> bytes:
    digest = hashlib.sha256(segmentation.SerializeToString(deterministic=True))
    seen = (tuple(image.shape), preprocessing.mean, preprocessing.std, seed)
    digest.update(repr(seen).encode())
    digest.update(image.detach().cpu().numpy().tobytes())
    return digest.digest()


@cached(
    LRUCache[bytes, NDArray[np.int32]](_KEPT_BYTES, getsizeof=lambda segments: segments.nbytes),
    key=_digest,
    condition=Condition(),
)
def segment(
    segmentation: method_pb2.Segmentation, preprocessing: Preprocessing, image: Tensor, seed: int
) -> NDArray[np.int32]:
    """Cuts an image, seen as the model sees it, into segments.

    Methods that ask for the same of the same picture share what the first of them finds.

    Args:
        segmentation: which algorithm, its defaults filled in.
        preprocessing: the model's; undone before the algorithm looks at colours.
        image: (C, H, W) float32 in model input units.
        seed: seed of the algorithms that break ties at random.

    Returns:
        (H, W) segment of each pixel: 0 to M - 1, every one of them present. Read-only.

    Raises:
        MethodError: the segmentation does not fit the image, or finds fewer than `MIN_SEGMENTS`.
    """
    height, width = image.shape[1:]
    algorithm = segmentation.WhichOneof("segmentation")
    labels: NDArray[np.generic]
    match algorithm:
        case "grid":
            labels = _grid(segmentation.grid, height, width)
        case "slic":
            labels = _slic(segmentation.slic, picture(preprocessing, image))
        case "quickshift":
            labels = _quickshift(segmentation.quickshift, picture(preprocessing, image), seed)
        case "felzenszwalb":
            labels = _felzenszwalb(segmentation.felzenszwalb, picture(preprocessing, image))
        case "labels":
            labels = _label_map(segmentation, height, width)
        case _:
            raise MethodError(
                Reason.INVALID_FIELD, "a segmentation must be chosen", field="segmentation"
            )
    values, inverse = np.unique(labels, return_inverse=True)
    _check_count(algorithm, len(values), height, width)
    segments: NDArray[np.int32] = inverse.reshape(height, width).astype(np.int32)
    segments.setflags(write=False)
    return segments


def picture(preprocessing: Preprocessing, image: Tensor) -> NDArray[np.float64]:
    """The image before normalisation: (H, W, 3) RGB in [0, 1], grey where it has one channel."""
    pixels = image.detach().cpu().double().permute(1, 2, 0).numpy()
    shown = np.clip(pixels * preprocessing.std + preprocessing.mean, 0.0, 1.0)
    return np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown


def finest_grid(height: int, width: int) -> method_pb2.Segmentation:
    """A grid of 32 x 32 cells, but never more cells than pixels along a side."""
    grid = method_pb2.GridSegmentation(rows=min(_FINEST, height), columns=min(_FINEST, width))
    return method_pb2.Segmentation(grid=grid)


def _grid(
    parameters: method_pb2.GridSegmentation, height: int, width: int
) -> NDArray[np.signedinteger]:
    for name, count, length in (
        ("rows", parameters.rows, height),
        ("columns", parameters.columns, width),
    ):
        if count > length:
            raise MethodError(
                Reason.INVALID_FIELD,
                f"a grid of {count} {name} needs as many pixels, and the input has {length}",
                field=f"segmentation.grid.{name}",
            )
    row = np.arange(height) * parameters.rows // height
    column = np.arange(width) * parameters.columns // width
    return row[:, None] * parameters.columns + column


def _slic(
    parameters: method_pb2.SlicSegmentation, image: NDArray[np.float64]
) -> NDArray[np.signedinteger]:
    """SLIC, made more compact tenfold for as long as it finds less than half of what was asked.

    On noisy pictures colour outweighs space so much that nearly everything is merged into one
    segment; a more compact one is then a grid that still follows the strongest edges.
    """
    compactness = parameters.compactness
    wanted = max(MIN_SEGMENTS, parameters.n_segments // 2)
    while True:
        labels: NDArray[np.signedinteger] = slic(
            image,
            n_segments=parameters.n_segments,
            compactness=compactness,
            sigma=parameters.sigma,
            start_label=0,
            channel_axis=-1,
        )
        if len(np.unique(labels)) >= wanted or compactness >= _MAX_COMPACTNESS:
            return labels
        compactness *= 10


def _quickshift(
    parameters: method_pb2.QuickshiftSegmentation, image: NDArray[np.float64], seed: int
) -> NDArray[np.signedinteger]:
    labels: NDArray[np.signedinteger] = quickshift(
        image,
        kernel_size=parameters.kernel_size,
        max_dist=parameters.max_distance,
        ratio=parameters.ratio,
        rng=seed,
        channel_axis=-1,
    )
    return labels


def _felzenszwalb(
    parameters: method_pb2.FelzenszwalbSegmentation, image: NDArray[np.float64]
) -> NDArray[np.signedinteger]:
    labels: NDArray[np.signedinteger] = felzenszwalb(
        image,
        scale=parameters.scale,
        sigma=parameters.sigma,
        min_size=parameters.min_size,
        channel_axis=-1,
    )
    return labels


def _label_map(
    segmentation: method_pb2.Segmentation, height: int, width: int
) -> NDArray[np.generic]:
    labels = from_tensor(segmentation.labels)
    if labels.shape != (height, width) or labels.dtype != np.int32:
        raise MethodError(
            Reason.INVALID_FIELD,
            f"the label map must be INT32 of shape [{height}, {width}], the height and width of "
            f"the model's input, not {labels.dtype} of shape {list(labels.shape)}",
            field="segmentation.labels",
        )
    return labels


_ADVICE: dict[str, Callable[[int, int], str]] = {
    "grid": lambda height, width: "ask for more rows and columns",
    "slic": lambda height, width: "raise n_segments, or use grid",
    "quickshift": lambda height, width: (
        f"it is made for larger pictures than {width}x{height}: lower max_distance or "
        "kernel_size, or use slic or grid"
    ),
    "felzenszwalb": lambda height, width: "lower scale or min_size, or use slic or grid",
    "labels": lambda height, width: "give a label map with more values",
}


def _check_count(algorithm: str, count: int, height: int, width: int) -> None:
    if count < MIN_SEGMENTS:
        raise MethodError(
            Reason.TOO_FEW_SEGMENTS,
            f"{algorithm} found {count} segment{'s' * (count != 1)} in the {width}x{height} input, "
            f"and an explanation needs at least {MIN_SEGMENTS}: "
            f"{_ADVICE[algorithm](height, width)}",
            algorithm=algorithm,
            segments=str(count),
            field=f"segmentation.{algorithm}",
        )
