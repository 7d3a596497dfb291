"""Pictures of weights with their error bars: what stands where, and in which colour."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from expound_client import pictures
from expound_client.attribution import Attribution
from expound_client.errors import ExpoundError, InvalidArgumentError
from expound_client.images import SeenImage
from expound_client.inputs import to_input
from expound_client.models import Model
from tests.client import canned

WEIGHTS = np.array([0.1, -0.4, 0.2, 0.0, -0.05])
ERRORS = np.array([0.1, 0.05, 0.025, 0.0, 0.02])
# The canned segments are of 2 rows of 8 pixels each; they are drawn on 360x360 pixels.
FACTOR = 45
RED, BLUE = (255, 0, 0), (0, 0, 255)
INK = (28, 29, 34)


def lime(*, known: bool = True) -> Attribution:
    image = to_input(canned.png()) if known else None
    seen = SeenImage(image, Model.from_proto(canned.card()))
    return Attribution.from_proto(canned.attribution("lime"), "mine", "lime", seen)


def chart(weights: NDArray[np.floating], errors: NDArray[np.floating]) -> NDArray[np.uint8]:
    listed = pictures.strongest(weights, errors)
    return np.asarray(pictures.bars(listed, len(weights)))[:, 48:]


def columns(line: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.intp]:
    return np.flatnonzero((line == color).all(axis=1))


def middle_of(row: int) -> int:
    """Where the whisker of a row is; the bar is 8 pixels higher and 8 lower."""
    return 59 + 29 * row


def test_the_strongest_are_those_of_largest_absolute_weight() -> None:
    listed = pictures.strongest(WEIGHTS, ERRORS, 3)
    assert [each.number for each in listed] == [1, 2, 0]
    assert [each.weight for each in listed] == [-0.4, 0.2, 0.1]
    assert [each.margin for each in listed] == pytest.approx([0.098, 0.049, 0.196])
    assert len(pictures.strongest(WEIGHTS, ERRORS)) == 5


def test_a_weight_may_be_zero_where_its_interval_holds_zero() -> None:
    weights, errors = np.array([0.2, -0.2, 0.2, -0.2, 0.0]), np.array([0.1, 0.1, 0.11, 0.11, 0.0])
    listed = pictures.strongest(weights, errors)
    assert [each.may_be_zero for each in listed] == [False, False, True, True, True]


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_segment_is_refused(count: int) -> None:
    with pytest.raises(InvalidArgumentError, match="count: must be at least 1"):
        lime().error_bars(count=count)


def test_bars_go_from_zero_to_the_weights_and_whiskers_over_the_intervals() -> None:
    weights, errors = np.array([-0.4, 0.2, 0.1]), np.array([0.05, 0.025, 0.01])
    drawn = chart(weights, errors)
    zeros, ends, lows, highs = [], [], [], []
    for row, weight in enumerate(weights):
        bar = columns(drawn[middle_of(row) - 7], RED if weight > 0 else BLUE)
        assert np.ptp(bar) == len(bar) - 1
        zeros.append(bar[0] if weight > 0 else bar[-1])
        ends.append(bar[-1] if weight > 0 else bar[0])
        whisker = columns(drawn[middle_of(row)], INK)
        lows.append(whisker[0])
        highs.append(whisker[-1])
    assert len(set(zeros)) == 1
    # The axis is linear: so many pixels a unit, the same for bars and whiskers.
    lengths = np.subtract(ends, zeros)
    scale = lengths[0] / weights[0]
    assert lengths == pytest.approx(weights * scale, abs=1.5)
    assert np.subtract(lows, zeros) == pytest.approx((weights - 1.96 * errors) * scale, abs=2.5)
    assert np.subtract(highs, zeros) == pytest.approx((weights + 1.96 * errors) * scale, abs=2.5)


def test_bars_of_weights_that_may_be_zero_are_pale_with_an_edge_of_their_colour() -> None:
    drawn = chart(np.array([0.4, -0.3]), np.array([0.3, 0.2]))
    for row, strong in enumerate((RED, BLUE)):
        line = drawn[middle_of(row) - 7]
        edges = columns(line, strong)
        assert len(edges) == 2
        inside = line[edges[0] + 1 : edges[1]]
        assert (inside == inside[0]).all()
        assert sorted(inside[0].tolist()) == pytest.approx([191, 191, 255], abs=2)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1e-9, -1e-9], [3e8, 2.0], [0.1]])
@pytest.mark.parametrize("share", [0.0, 0.1, 10.0])
def test_weights_of_every_size_are_drawn(weights: list[float], share: float) -> None:
    given = np.array(weights)
    drawn = pictures.bars(pictures.strongest(given, np.abs(given) * share), len(given))
    assert drawn.width == 460


def test_a_listed_segment_is_outlined_and_in_colour_and_the_rest_is_grey() -> None:
    listed = pictures.strongest(canned.WEIGHTS, np.full(4, 0.01), 2)
    image = Image.new("RGB", (8, 8), (10, 200, 30))
    drawn = np.asarray(pictures.numbered(image, canned.SEGMENTS, listed))
    assert drawn.shape == (8 * FACTOR, 8 * FACTOR, 3)
    for number, color in ((0, RED), (1, BLUE)):
        top, bottom = 2 * FACTOR * number, 2 * FACTOR * (number + 1)
        assert (drawn[top, :] == color).all()
        assert (drawn[bottom - 1, :] == color).all()
        assert (drawn[top:bottom, 0] == color).all()
        assert tuple(drawn[top + 9, FACTOR]) == (10, 200, 30)
        # The number stands in the middle, on the colour of the segment's bar.
        tag = drawn[top + FACTOR - 8 : top + FACTOR + 9, 4 * FACTOR - 10 : 4 * FACTOR + 10]
        assert (tag == color).all(axis=2).mean() > 0.5
        assert (tag == 255).all(axis=2).any()
    rest = drawn[4 * FACTOR :]
    assert (rest == rest[0, 0]).all()
    assert np.ptp(rest[0, 0]) == 0


def test_a_segment_without_pixels_has_a_bar_alone() -> None:
    segments = np.zeros((8, 8), np.int32)
    listed = pictures.strongest(np.array([0.1, 0.5]), np.zeros(2))
    some = pictures.numbered(Image.new("RGB", (8, 8)), segments, listed)
    assert some.tobytes() == (
        pictures.numbered(Image.new("RGB", (8, 8)), segments, listed[1:]).tobytes()
    )


def test_a_number_at_the_edge_is_not_cut() -> None:
    segments = np.zeros((400, 400), np.int32)
    segments[0, 0], segments[399, 399] = 1, 2
    listed = pictures.strongest(np.array([0.0, 1.0, 1.0]), np.zeros(3), 2)
    drawn = np.asarray(pictures.numbered(Image.new("RGB", (400, 400)), segments, listed))
    red = (drawn == RED).all(axis=2)
    for corner in (red[:40, :40], red[-40:, -40:]):
        assert corner.any(axis=0).sum() >= 26
        assert corner.any(axis=1).sum() >= 20


def test_the_numbered_image_stands_beside_the_bars() -> None:
    attribution = lime()
    drawn = np.asarray(attribution.error_bars(count=2))
    listed = pictures.strongest(canned.WEIGHTS, canned.STANDARD_ERRORS, 2)
    left = np.asarray(pictures.numbered(attribution.seen.image, canned.SEGMENTS, listed))
    right = np.asarray(pictures.bars(listed, 4))
    height, width, _ = left.shape
    assert np.array_equal(drawn[16 : 16 + height, 16 : 16 + width], left)
    top = (len(drawn) - len(right)) // 2
    assert np.array_equal(drawn[top : top + len(right), 16 + width :], right)


def test_without_the_image_the_segments_are_shown_in_the_map() -> None:
    unknown, shown = lime(known=False), canned.photo()
    assert unknown.error_bars() != lime().error_bars()
    assert unknown.error_bars() == lime().error_bars(lime().heatmap())
    assert unknown.error_bars(shown) == lime().error_bars(shown)


def test_every_pixel_has_the_standard_error_of_its_segment() -> None:
    errors = lime().standard_error_map
    assert errors.dtype == np.float32
    assert np.array_equal(errors, canned.STANDARD_ERRORS[canned.SEGMENTS].astype(np.float32))


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("weights", "mine has no weights of segments"),
        ("standard_errors", "mine has no standard errors of its weights"),
        ("segments", "the segments of mine were not sent with this event"),
    ],
)
def test_what_is_missing_is_told(missing: str, told: str) -> None:
    attribution = replace(lime(), **{missing: None})  # type: ignore[arg-type]
    with pytest.raises(ExpoundError, match=told):
        attribution.error_bars()
    with pytest.raises(ExpoundError, match=told):
        _ = attribution.standard_error_map
