"""Maps are normalised as Captum's pictures are."""

import warnings

import numpy as np
import pytest
from captum.attr._utils import visualization
from numpy.typing import NDArray

from expound_client.errors import InvalidArgumentError
from expound_client.pictures import SIGNS, Sign, normalize

CAPTUM_SIGNS = {sign: sign for sign in SIGNS} | {"absolute": "absolute_value"}
RANDOM = np.random.default_rng(0)
SPARSE = np.zeros((9, 7))
SPARSE[2, 3:6] = 4, -2, 1
MAPS: dict[str, NDArray[np.floating]] = {
    "of normal values": RANDOM.normal(size=(3, 24, 32)),
    "of single precision": RANDOM.normal(size=(3, 24, 32)).astype(np.float32),
    "with long tails": RANDOM.standard_cauchy(size=(16, 16)),
    "nowhere negative": RANDOM.random((16, 16)),
    "nowhere positive": -RANDOM.random((16, 16)),
    "of few values": SPARSE,
    "of one value": np.full((4, 4), -3.0),
    "of one pixel": np.array([[0.7]]),
    "of tiny values": RANDOM.normal(size=(8, 8)) * 1e-9,
    "of huge values": RANDOM.normal(size=(8, 8)) * 1e30,
}


def captum(values: NDArray[np.floating], sign: Sign, outlier_perc: float) -> NDArray[np.floating]:
    """What Captum makes of a map (C, H, W) or (H, W)."""
    flat = np.moveaxis(values, 0, -1).sum(axis=2) if values.ndim == 3 else values
    with warnings.catch_warnings():
        # It warns of maps that are close to zero, and draws them.
        warnings.filterwarnings("ignore", message="Attempting to normalize by value approx")
        normalized: NDArray[np.floating] = visualization._normalize_attr(
            flat, CAPTUM_SIGNS[sign], outlier_perc
        )
    return normalized


@pytest.mark.parametrize("outlier_perc", [0, 0.5, 1, 2, 5, 25, 50, 99, 99.9])
@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_normalised_as_captum_does_it(name: str, sign: Sign, outlier_perc: float) -> None:
    drawn = normalize(MAPS[name], sign=sign, outlier_perc=outlier_perc)
    try:
        expected = captum(MAPS[name], sign, outlier_perc)
    except AssertionError as error:
        assert "scale factor = 0" in str(error)
        assert drawn.empty and not drawn.positions.any()
    except IndexError:
        # Rounded, 100 percent of the sum is more than all of it.
        assert outlier_perc == 0
        assert np.abs(drawn.positions).max() == 1
    else:
        assert np.abs(drawn.positions - expected).max() <= 1e-6
        assert not drawn.empty


@pytest.mark.parametrize("outlier_perc", [0, 2, 100])
@pytest.mark.parametrize("sign", SIGNS)
def test_a_map_that_captum_cannot_draw_is_empty(sign: Sign, outlier_perc: float) -> None:
    zeros = np.zeros((3, 4, 5), np.float32)
    with pytest.raises(AssertionError, match="scale factor = 0"):
        captum(zeros, sign, outlier_perc)
    drawn = normalize(zeros, sign=sign, outlier_perc=outlier_perc)
    assert drawn.empty
    assert drawn.limit == 0
    assert np.array_equal(drawn.positions, np.zeros((4, 5)))


def test_where_every_value_is_an_outlier_all_but_zeros_take_the_strongest_colour() -> None:
    drawn = normalize(SPARSE, outlier_perc=100)
    assert np.array_equal(drawn.positions, np.sign(SPARSE))
    assert drawn.limit == 1


def test_without_outliers_the_largest_value_takes_the_strongest_colour() -> None:
    for values in (SPARSE, np.full((1, 7), 0.1), MAPS["with long tails"]):
        drawn = normalize(values, outlier_perc=0)
        assert drawn.limit == np.abs(values).max()
        assert np.allclose(drawn.positions, values / drawn.limit, atol=1e-12)


def test_outliers_do_not_darken_the_rest() -> None:
    values = np.ones((100, 100))
    values[0, 0] = 150
    assert (normalize(values).positions == 1).all()
    assert np.median(normalize(values, outlier_perc=0).positions) < 0.01


def test_half_precision_does_not_overflow() -> None:
    values = np.full((3, 2, 2), 6e4, np.float16)
    assert normalize(values).limit == pytest.approx(180_000, rel=1e-3)


@pytest.mark.parametrize("outlier_perc", [-1, 101, float("nan")])
def test_a_share_that_is_none_is_refused(outlier_perc: float) -> None:
    with pytest.raises(InvalidArgumentError, match="from 0 to 100"):
        normalize(SPARSE, outlier_perc=outlier_perc)


def test_a_sign_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="all, positive, negative, absolute"):
        normalize(SPARSE, sign="absolute_value")  # type: ignore[arg-type]
