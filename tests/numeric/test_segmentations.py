"""Segmentations cut every picture into a sensible number of segments, or say why not."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import skimage.data
import skimage.segmentation
import skimage.transform
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import is_valid_linkage
from torch import Tensor

from expound.reasons import Reason
from expound.tensors import to_tensor
from expound.v1 import method_pb2 as m
from expound_worker.methods.method import MethodError
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.perturbation.hierarchy import halving_tree
from expound_worker.perturbation.segmentations import finest_grid, picture, segment
from tests.numeric.models import resolved

SIZES = [(4, 4), (8, 8), (28, 28), (32, 32), (64, 48), (224, 224), (224, 8), (300, 300)]


def preprocessing(height: int, width: int, channels: int = 3) -> Preprocessing:
    mean, std = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    return Preprocessing((channels, height, width), None, mean, std)


def normalized(pixels: NDArray[np.float64], model: Preprocessing) -> Tensor:
    """(C, H, W) input of (H, W, C) pixels in [0, 1]."""
    values = (pixels - np.array(model.mean)) / np.array(model.std)
    return torch.from_numpy(values).permute(2, 0, 1).float()


def pictures(height: int, width: int) -> dict[str, NDArray[np.float64]]:
    chelsea = skimage.data.chelsea() / 255
    photo = skimage.transform.resize(chelsea, (height, width))
    return {
        "photo": photo,
        "one colour": np.full((height, width, 3), 0.5),
        "black": np.zeros((height, width, 3)),
        "noise": np.random.default_rng(0).random((height, width, 3)),
    }


def test_a_picture_is_cut_once_however_many_ask_at_a_time() -> None:
    model = preprocessing(64, 48)
    image = normalized(pictures(64, 48)["photo"], model)
    slic = resolved(m.Segmentation(slic=m.SlicSegmentation()))
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(lambda _: segment(slic, model, image.clone(), 0), range(4))
    assert all(other is first for other in others)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1

    brighter, other_units = image.clone(), dataclasses.replace(model, std=(0.5, 0.5, 0.5))
    brighter[0, 0, 0] += 0.1
    finer = m.Segmentation()
    finer.CopyFrom(slic)
    finer.slic.n_segments += 10
    turned = image.reshape(3, 48, 64)
    assert segment(slic, model, brighter, 0) is not first
    assert segment(slic, other_units, image, 0) is not first
    assert segment(slic, model, image, 1) is not first
    assert segment(slic, model, turned, 0).shape == (48, 64)
    assert segment(finer, model, image, 0).max() > first.max()


def assert_contiguous(segments: NDArray[np.int32], height: int, width: int) -> None:
    assert segments.dtype == np.int32
    assert segments.shape == (height, width)
    assert np.array_equal(np.unique(segments), np.arange(segments.max() + 1))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_slic_finds_a_sensible_number_of_segments_in_any_picture(height: int, width: int) -> None:
    model = preprocessing(height, width)
    slic = resolved(m.Segmentation(slic=m.SlicSegmentation()))
    for name, pixels in pictures(height, width).items():
        segments = segment(slic, model, normalized(pixels, model), seed=0)
        assert_contiguous(segments, height, width)
        assert 15 <= segments.max() + 1 <= 64, name


def test_slic_takes_inputs_of_one_channel() -> None:
    model = preprocessing(28, 28, channels=1)
    image = normalized(pictures(28, 28)["photo"][:, :, :1], model)
    segments = segment(resolved(m.Segmentation(slic=m.SlicSegmentation())), model, image, seed=0)
    assert 15 <= segments.max() + 1 <= 64


def test_algorithms_see_the_picture_as_it_was_before_normalisation() -> None:
    model = preprocessing(32, 32)
    pixels = pictures(32, 32)["photo"]
    assert np.allclose(picture(model, normalized(pixels, model)), pixels, atol=1e-6)


def test_inputs_beyond_black_and_white_are_seen_as_these() -> None:
    model = preprocessing(32, 32)
    pixels = 3 * pictures(32, 32)["photo"] - 1
    assert pixels.min() < 0 and pixels.max() > 1
    seen = picture(model, normalized(pixels, model))
    assert np.allclose(seen, np.clip(pixels, 0, 1), atol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(7, 7), (2, 2), (32, 32), (3, 5), (1, 4)])
def test_grid_has_as_many_cells_as_asked_and_they_are_nearly_equal(rows: int, columns: int) -> None:
    grid = m.Segmentation(grid=m.GridSegmentation(rows=rows, columns=columns))
    segments = segment(grid, preprocessing(32, 32), torch.zeros(3, 32, 32), seed=0)
    assert_contiguous(segments, 32, 32)
    sizes = np.bincount(segments.ravel())
    assert len(sizes) == rows * columns
    assert sizes.max() <= (32 // rows + 1) * (32 // columns + 1)


def test_grid_finer_than_the_pixels_is_refused() -> None:
    grid = m.Segmentation(grid=m.GridSegmentation(rows=4, columns=33))
    with pytest.raises(MethodError) as caught:
        segment(grid, preprocessing(32, 32), torch.zeros(3, 32, 32), seed=0)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "segmentation.grid.columns"


@pytest.mark.parametrize(("height", "width"), [(8, 8), (20, 300), (224, 224)])
def test_finest_grid_has_never_more_cells_than_pixels(height: int, width: int) -> None:
    segments = segment(
        finest_grid(height, width), preprocessing(height, width), torch.zeros(3, height, width), 0
    )
    assert segments.max() + 1 == min(32, height) * min(32, width)


@pytest.mark.parametrize(
    "chosen",
    [
        m.Segmentation(quickshift=m.QuickshiftSegmentation(max_distance=20)),
        m.Segmentation(felzenszwalb=m.FelzenszwalbSegmentation()),
    ],
    ids=["quickshift", "felzenszwalb"],
)
def test_other_algorithms_cut_a_photo_the_same_way_twice(chosen: m.Segmentation) -> None:
    model = preprocessing(96, 96)
    image = normalized(pictures(96, 96)["photo"], model)
    cut = segment.__wrapped__  # what was found the first time is kept
    first, second = (cut(resolved(chosen), model, image, seed=3) for _ in range(2))
    assert_contiguous(first, 96, 96)
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("chosen", "algorithm", "arguments"),
    [
        (
            m.Segmentation(slic=m.SlicSegmentation(n_segments=30, compactness=20, sigma=2)),
            skimage.segmentation.slic,
            {"n_segments": 30, "compactness": 20, "sigma": 2, "start_label": 0},
        ),
        (
            m.Segmentation(
                quickshift=m.QuickshiftSegmentation(kernel_size=3, max_distance=8, ratio=0.4)
            ),
            skimage.segmentation.quickshift,
            {"kernel_size": 3, "max_dist": 8, "ratio": 0.4, "rng": 3},
        ),
        (
            m.Segmentation(
                felzenszwalb=m.FelzenszwalbSegmentation(scale=30, sigma=1.5, min_size=40)
            ),
            skimage.segmentation.felzenszwalb,
            {"scale": 30, "sigma": 1.5, "min_size": 40},
        ),
    ],
    ids=["slic", "quickshift", "felzenszwalb"],
)
def test_segments_are_those_of_the_algorithm_with_the_parameters_that_are_asked_for(
    chosen: m.Segmentation,
    algorithm: Callable[..., NDArray[np.int64]],
    arguments: dict[str, float],
) -> None:
    model = preprocessing(48, 48)
    image = normalized(pictures(48, 48)["photo"], model)
    pixels = picture(model, image)
    segments = segment(resolved(chosen), model, image, seed=3)

    def are_those_of(arguments: dict[str, float]) -> bool:
        labels = algorithm(pixels, channel_axis=-1, **arguments)
        return np.array_equal(segments, np.unique(labels, return_inverse=True)[1].reshape(48, 48))

    assert are_those_of(arguments)
    for name in arguments.keys() - {"start_label", "rng"}:
        other = {**arguments, name: 2 * arguments[name]}
        assert not are_those_of(other), f"{name} changes nothing in this picture"


def test_quickshift_breaks_ties_by_the_seed() -> None:
    model = preprocessing(32, 32)
    image = normalized(pictures(32, 32)["one colour"], model)
    small = m.QuickshiftSegmentation(kernel_size=1, max_distance=3)
    chosen = resolved(m.Segmentation(quickshift=small))
    first, second = (segment(chosen, model, image, seed) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_one_segment_of_quickshift_on_a_small_image_is_refused_with_advice() -> None:
    model = preprocessing(32, 32)
    quickshift = resolved(m.Segmentation(quickshift=m.QuickshiftSegmentation()))
    image = normalized(pictures(32, 32)["photo"], model)
    with pytest.raises(MethodError) as caught:
        segment(quickshift, model, image, seed=0)
    assert caught.value.reason is Reason.TOO_FEW_SEGMENTS
    assert caught.value.metadata == {
        "algorithm": "quickshift",
        "segments": "1",
        "field": "segmentation.quickshift",
    }
    assert "quickshift found 1 segment in the 32x32 input" in caught.value.message
    assert "use slic or grid" in caught.value.message


def test_label_map_is_renumbered_in_its_order() -> None:
    labels = np.array([[-7, 5], [1000, 5]], dtype=np.int32).repeat(2, 0).repeat(2, 1)
    labels[0, 0] = 42
    segments = segment(
        m.Segmentation(labels=to_tensor(labels)), preprocessing(4, 4), torch.zeros(3, 4, 4), 0
    )
    assert_contiguous(segments, 4, 4)
    assert segments[0].tolist() == [2, 0, 1, 1]
    assert segments[3].tolist() == [3, 3, 1, 1]


@pytest.mark.parametrize(
    "labels",
    [np.zeros((4, 5), np.int32), np.zeros((4, 4), np.float32), np.zeros((1, 4, 4), np.int32)],
    ids=["shape", "dtype", "axes"],
)
def test_label_map_that_does_not_fit_is_refused(labels: NDArray[np.generic]) -> None:
    with pytest.raises(MethodError) as caught:
        segment(
            m.Segmentation(labels=to_tensor(labels)), preprocessing(4, 4), torch.zeros(3, 4, 4), 0
        )
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "segmentation.labels"


def leaves(linkage: NDArray[np.float64], node: int) -> set[int]:
    count = len(linkage) + 1
    if node < count:
        return {node}
    left, right = linkage[node - count, :2].astype(int)
    return leaves(linkage, left) | leaves(linkage, right)


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (4, 6), (5, 3), (32, 32)])
def test_hierarchy_is_a_valid_linkage_of_all_segments(rows: int, columns: int) -> None:
    segments = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    linkage = halving_tree(segments)
    assert is_valid_linkage(linkage)
    assert leaves(linkage, 2 * rows * columns - 2) == set(range(rows * columns))
    for row, size in enumerate(linkage[:, 3]):
        assert len(leaves(linkage, rows * columns + row)) == size


def test_hierarchy_halves_the_longer_side() -> None:
    linkage = halving_tree(np.arange(24, dtype=np.int32).reshape(4, 6))
    left, right = linkage[-1, :2].astype(int)
    assert leaves(linkage, left) == {row * 6 + column for row in range(4) for column in range(3)}
    upper, lower = linkage[right - 24, :2].astype(int)
    assert leaves(linkage, upper) == {3, 4, 5, 9, 10, 11}
    assert leaves(linkage, lower) == {15, 16, 17, 21, 22, 23}


def test_hierarchy_divides_rings_that_share_one_centroid() -> None:
    rows, columns = np.indices((9, 9))
    rings = np.maximum(abs(rows - 4), abs(columns - 4)).astype(np.int32)
    linkage = halving_tree(rings)
    assert is_valid_linkage(linkage)
    assert leaves(linkage, 8) == set(range(5))
