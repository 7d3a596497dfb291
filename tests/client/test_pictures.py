"""Pictures of known maps: heat map, overlay, masked image, alpha scaling, and the grid."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor

from expound_client import pictures
from expound_client.errors import InvalidArgumentError
from expound_client.pictures import SIGNS, Sign

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8))
MAP = np.random.default_rng(1).normal(size=(3, 6, 8))
EMPTY = np.zeros((3, 64, 64))


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


@pytest.mark.parametrize("opacity", [-0.1, 1.5, 85, float("nan")])
def test_an_opacity_that_is_no_share_is_refused(opacity: float) -> None:
    with pytest.raises(InvalidArgumentError, match="opacity: must be from 0 to 1"):
        pictures.overlay(MAP, PHOTO, opacity=opacity)


def test_the_image_is_brought_to_the_size_of_the_map() -> None:
    assert pictures.overlay(np.ones((5, 7)), Image.new("RGB", (50, 50))).size == (7, 5)


def test_another_colour_map_can_be_chosen() -> None:
    values = np.array([[0.0, 1.0]])
    assert pixel(pictures.heatmap(values, colors="viridis"), 0, 1) == (253, 231, 37)


def test_an_unknown_colour_map_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="not 'virids'"):
        pictures.heatmap(MAP, colors="virids")


def test_the_map_of_one_sign_is_drawn_in_the_colour_of_that_sign() -> None:
    values = np.array([[1.0, -1.0]])
    red, _, blue = pixel(pictures.heatmap(values, sign="positive"), 0, 0)
    assert red > blue + 50
    red, _, blue = pixel(pictures.heatmap(values, sign="negative"), 0, 1)
    assert blue > red + 50
    both = np.asarray(pictures.heatmap(values, sign="absolute"))
    assert (both[0, 0] == both[0, 1]).all()


def test_an_even_overlay_covers_the_image_by_the_same_share_everywhere() -> None:
    image = Image.new("RGB", (2, 1), (0, 0, 0))
    values = np.array([[1.0, 0.001]])
    heat = np.asarray(pictures.heatmap(values), float)
    drawn = np.asarray(pictures.overlay(values, image, even=True, opacity=0.5), float)
    under = drawn - heat / 2
    assert np.ptp(under) <= 1
    assert 0 < under.mean() < 127


def test_a_masked_image_is_the_image_times_the_map() -> None:
    drawn = np.asarray(pictures.masked(MAP, PHOTO, sign="positive"), float)
    positions = pictures.normalize(MAP, sign="positive").positions
    assert np.abs(drawn - np.asarray(PHOTO) * positions[..., None]).max() <= 0.5


def test_alpha_scaling_keeps_the_image_and_makes_it_transparent_where_the_map_is_weak() -> None:
    drawn = np.asarray(pictures.alpha_scaled(MAP, PHOTO))
    assert np.array_equal(drawn[..., :3], np.asarray(PHOTO))
    positions = pictures.normalize(MAP, sign="absolute").positions
    assert np.abs(drawn[..., 3] - 255 * positions).max() <= 0.5


@pytest.mark.parametrize("draw", [pictures.masked, pictures.alpha_scaled])
def test_a_picture_without_a_place_for_signs_refuses_them_all(
    draw: Callable[..., Image.Image],
) -> None:
    with pytest.raises(InvalidArgumentError, match="absolute"):
        draw(MAP, PHOTO, sign="all")


@pytest.mark.parametrize("size", [8, 32, 64, 224])
@pytest.mark.parametrize("sign", SIGNS)
def test_an_empty_map_is_drawn_and_labelled(size: int, sign: Sign) -> None:
    values = np.zeros((3, size, size))
    image = Image.new("RGB", (size, size), "gray")
    drawn = [pictures.heatmap(values, sign=sign), pictures.overlay(values, image, sign=sign)]
    if sign != "all":
        drawn.append(pictures.masked(values, image, sign=sign))
        drawn.append(pictures.alpha_scaled(values, image, sign=sign))
    for picture in drawn:
        assert picture.size == (size, size)
        # Without the label, each of them is of one colour.
        assert len(np.unique(np.asarray(picture).reshape(size * size, -1), axis=0)) > 2


def test_a_map_without_a_value_of_the_sign_is_empty() -> None:
    values = np.full((64, 64), 2.0)
    assert pictures.normalize(values, sign="negative").empty
    assert pictures.heatmap(values, sign="negative") == pictures.heatmap(EMPTY, sign="negative")


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("values", [MAP, np.abs(MAP), EMPTY])
def test_a_colour_bar_stands_below_the_picture(values: NDArray[np.floating], sign: Sign) -> None:
    alone = np.asarray(pictures.heatmap(values, sign=sign))
    barred = np.asarray(pictures.heatmap(values, sign=sign, color_bar=True))
    factor = -(-192 // alone.shape[1])
    enlarged = alone.repeat(factor, 0).repeat(factor, 1)
    height, width, _ = enlarged.shape
    assert np.array_equal(barred[10 : 10 + height, 10 : 10 + width], enlarged)
    drawn = pictures.normalize(values, sign=sign)
    scale = np.asarray(pictures.scale(drawn))[0]
    bar = barred[10 + height + 12, 10 : 10 + width]
    assert np.abs(bar[0].astype(int) - scale[0]).max() <= 8
    assert np.abs(bar[-1].astype(int) - scale[-1]).max() <= 8


def test_an_overlay_can_have_a_colour_bar_too() -> None:
    assert pictures.overlay(MAP, PHOTO, color_bar=True).width == 8 * 24 + 20


def test_a_grid_shows_every_picture_in_its_row_and_column() -> None:
    colors = [["red", "green"], ["blue", "black"]]
    rows = [
        pictures.Row([Image.new("RGB", (32, 40), color) for color in row], "a caption\n" * 3)
        for row in colors
    ]
    drawn = np.asarray(pictures.grid(["image", "a_method_with_a_very_long_name"], rows))
    # Two lines of heading, then two rows of pictures of 4 times 32x40, and their captions.
    tops = [16 + 2 * 17 + 3, 16 + 2 * 17 + 3 + 160 + 3 * 17 + 3 + 10]
    for top, row in zip(tops, colors, strict=True):
        for left, color in zip((16, 16 + 128 + 10), row, strict=True):
            cell = drawn[top : top + 160, left : left + 128]
            assert (cell == ImageColor.getrgb(color)).all()
            assert (drawn[top - 1, left : left + 128] == 255).all()


def test_a_grid_has_a_place_for_what_is_not_there() -> None:
    picture = Image.new("RGB", (32, 32), "red")
    whole = pictures.grid(["a", "b"], [pictures.Row([picture, picture])])
    partly = pictures.grid(["a", "b"], [pictures.Row([picture, None])])
    assert partly.size == whole.size
    assert pictures.grid(["a"], []).width > 128


def test_a_grid_has_its_legend_below_within_its_width() -> None:
    rows = [pictures.Row([Image.new("RGB", (128, 128), "red")])]
    plain = np.asarray(pictures.grid(["a"], rows))
    drawn = np.asarray(pictures.grid(["a"], rows, legend="a legend of more than one line " * 2))
    assert drawn.shape[1] == plain.shape[1]
    assert drawn.shape[0] >= plain.shape[0] + 2 * 17
    above = len(plain) - 16
    assert np.array_equal(drawn[:above], plain[:above])
    assert (drawn[above:, 16:-16] < 255).any()
    assert (drawn[-16:] == 255).all() and (drawn[:, -16:] == 255).all()
