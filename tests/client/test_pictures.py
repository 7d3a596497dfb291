"""Heat maps and overlays of known maps."""

import numpy as np
import pytest
from PIL import Image

from expound_client import pictures


def pixel(image: Image.Image, row: int, column: int) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in np.asarray(image)[row, column])
    return red, green, blue


def test_a_signed_map_is_red_for_and_blue_against_and_white_between() -> None:
    drawn = pictures.heatmap(np.array([[1.0, -1.0], [0.0, 0.0]]))
    assert pixel(drawn, 0, 0) == (255, 0, 0)
    assert pixel(drawn, 0, 1) == (0, 0, 255)
    assert min(pixel(drawn, 1, 0)) >= 253


def test_a_map_that_is_nowhere_negative_goes_from_dark_to_bright() -> None:
    drawn = pictures.heatmap(np.array([[0.0, 1.0], [2.0, 4.0]]))
    brightness = np.asarray(drawn.convert("L")).ravel()
    assert brightness[0] < 5
    assert (np.diff(brightness.astype(int)) > 0).all()


def test_channels_are_summed() -> None:
    values = np.array([[[1.0, -2.0]], [[1.0, 1.0]]])
    assert np.array_equal(pictures.normalize(values, 100), [[1.0, -0.5]])


def test_an_outlier_does_not_darken_the_rest() -> None:
    values = np.ones((100, 100))
    values[0, 0] = 1e6
    assert (pictures.normalize(values) == 1).all()


def test_a_map_that_is_zero_nearly_everywhere_is_scaled_by_its_largest_value() -> None:
    values = np.zeros((100, 100))
    values[0, :2] = 4, 2
    assert np.array_equal(pictures.normalize(values)[0, :3], [1, 0.5, 0])


def test_a_map_of_zeros_is_drawn() -> None:
    assert pictures.heatmap(np.zeros((3, 4, 5))).size == (5, 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_overlay_shows_the_image_where_the_map_is_zero(dtype: type[np.floating]) -> None:
    image = Image.new("RGB", (2, 1), (100, 100, 100))
    drawn = pictures.overlay(np.array([[0, -1]], dtype), image)
    assert len(set(pixel(drawn, 0, 0))) == 1
    red, _, blue = pixel(drawn, 0, 1)
    assert blue > red + 150


def test_without_opacity_nothing_of_the_map_is_seen() -> None:
    image = Image.new("RGB", (4, 4), (10, 200, 30))
    drawn = np.asarray(pictures.overlay(np.ones((4, 4)), image, opacity=0))
    assert (drawn == drawn[0, 0]).all()
    assert len(set(drawn[0, 0].tolist())) == 1


def test_the_image_is_brought_to_the_size_of_the_map() -> None:
    assert pictures.overlay(np.ones((5, 7)), Image.new("RGB", (50, 50))).size == (7, 5)


def test_another_colour_map_can_be_chosen() -> None:
    values = np.array([[0.0, 1.0]])
    assert pixel(pictures.heatmap(values, colors="viridis"), 0, 1) == (253, 231, 37)
