"""Baselines are what the contract says they are."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from expound.reasons import Reason
from expound.tensors import to_tensor
from expound.v1 import method_pb2 as m
from expound_worker.methods.method import MethodError
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.perturbation.baselines import make_baseline
from tests.numeric.models import resolved

MODEL = Preprocessing((3, 12, 20), None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def random_image(height: int = 12, width: int = 20) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(1))


def made(baseline: m.Baseline, image: Tensor, seed: int = 0) -> Tensor:
    return make_baseline(resolved(baseline), MODEL, image, seed)


def test_zero_is_zero_in_model_input_units() -> None:
    assert torch.equal(
        made(m.Baseline(zero=m.ZeroBaseline()), random_image()), torch.zeros(3, 12, 20)
    )


def test_color_is_what_preprocessing_makes_of_a_picture_in_that_color() -> None:
    chosen = m.Baseline(color=m.ColorBaseline(red=1, green=51 / 255, blue=0))
    expected = MODEL(Image.new("RGB", (20, 12), (255, 51, 0)))
    assert torch.allclose(made(chosen, random_image()), expected, atol=1e-6)


def test_color_is_black_by_default() -> None:
    expected = MODEL(Image.new("RGB", (20, 12)))
    assert torch.allclose(made(m.Baseline(color=m.ColorBaseline()), random_image()), expected)


def test_color_on_a_grey_model_is_its_first_component() -> None:
    grey = Preprocessing((1, 4, 4), None, (0.5,), (0.25,))
    chosen = resolved(m.Baseline(color=m.ColorBaseline(red=1)))
    assert torch.equal(
        make_baseline(chosen, grey, torch.zeros(1, 4, 4), 0), torch.full((1, 4, 4), 2.0)
    )


def test_blur_equals_a_literal_gaussian() -> None:
    image = random_image()
    blurred = made(m.Baseline(blur=m.BlurBaseline(sigma=1.3)), image)
    assert np.allclose(blurred.numpy(), literal_blur(image.numpy(), 1.3), atol=1e-5)


def literal_blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float64]:
    """Weighted means of the neighbours up to three sigma away, the image mirrored at its edges."""
    radius = math.ceil(3 * sigma)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(image.astype(float), ((0, 0), (radius, radius), (radius, radius)), "reflect")
    blurred = np.empty(image.shape)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            window = padded[:, row : row + 2 * radius + 1, column : column + 2 * radius + 1]
            blurred[:, row, column] = (window * kernel).sum(axis=(1, 2))
    return blurred


@pytest.mark.parametrize("sigma", [0.1, 10, 100])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 8), (32, 32)])
def test_blur_wider_than_the_image_still_is_a_mean_of_its_pixels(
    height: int, width: int, sigma: float
) -> None:
    image = random_image(height, width)
    blurred = made(m.Baseline(blur=m.BlurBaseline(sigma=sigma)), image)
    assert blurred.shape == image.shape
    assert blurred.max() <= image.max() + 1e-5
    assert blurred.std() <= image.std() + 1e-5 or image.numel() == 3


def test_noise_comes_from_the_seed_alone() -> None:
    chosen = m.Baseline(noise=m.NoiseBaseline(stdev=0.5))
    state = torch.get_rng_state()
    first, again = made(chosen, random_image(), seed=4), made(chosen, random_image(), seed=4)
    assert torch.equal(first, again)
    assert not torch.equal(first, made(chosen, random_image(), seed=5))
    assert torch.equal(torch.get_rng_state(), state)
    assert 0.45 < float(first.std()) < 0.55


@pytest.mark.parametrize("seed", [0, 4, 2**32 - 1])
def test_noise_is_another_draw_than_that_of_the_noise_tunnel(seed: int) -> None:
    noise = made(m.Baseline(noise=m.NoiseBaseline(stdev=1)), random_image(), seed)
    drawn = torch.randn(3, 12, 20, generator=torch.Generator().manual_seed(seed))
    together = torch.stack([noise.flatten(), drawn.flatten()])
    assert abs(float(together.corrcoef()[0, 1])) < 0.15


def test_segment_mean_fills_each_segment_with_its_own_mean() -> None:
    image = random_image()
    segments = np.random.default_rng(0).integers(0, 5, (12, 20)).astype(np.int32)
    baseline = make_baseline(
        m.Baseline(segment_mean=m.SegmentMeanBaseline()), MODEL, image, 0, segments
    )
    for number in range(5):
        inside = torch.from_numpy(segments == number)
        for channel in range(3):
            filled = baseline[channel][inside]
            assert torch.allclose(filled, image[channel][inside].mean(), atol=1e-6)


def test_segment_mean_without_segments_is_refused() -> None:
    with pytest.raises(MethodError) as caught:
        made(m.Baseline(segment_mean=m.SegmentMeanBaseline()), random_image())
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "baseline.segment_mean"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensor_is_taken_as_it_is(dtype: type[np.floating]) -> None:
    values = random_image().numpy().astype(dtype)
    baseline = made(m.Baseline(tensor=to_tensor(values)), torch.zeros(3, 12, 20))
    assert baseline.dtype == torch.float32
    assert np.array_equal(baseline.numpy(), values.astype(np.float32))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 12, 21), np.float32),
        np.zeros((12, 20), np.float32),
        np.zeros((3, 12, 20), np.int32),
        np.full((3, 12, 20), np.nan, np.float32),
        np.full((3, 12, 20), 1e300, np.float64),
    ],
    ids=["shape", "axes", "dtype", "NaN", "infinite as float32"],
)
def test_tensor_that_does_not_fit_is_refused(values: NDArray[np.generic]) -> None:
    with pytest.raises(MethodError) as caught:
        made(m.Baseline(tensor=to_tensor(values)), random_image())
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "baseline.tensor"
