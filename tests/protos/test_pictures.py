"""Maps as PNG: what is read again is what was written, rounded as it says."""

import io

import numpy as np
import pytest
from PIL import Image

from expound.pictures import from_picture, to_picture

VALUES = np.random.default_rng(0).standard_normal((9, 7)).astype(np.float32)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_values_are_rounded_to_a_127th_of_the_largest(size: float) -> None:
    values = VALUES * np.float32(size)
    picture, scale = to_picture(values)
    found = from_picture(picture, scale)
    assert scale == np.abs(values).max()
    assert found.dtype == np.float32
    assert np.abs(found - values).max() <= 0.5001 * scale / 127


def test_brighter_speaks_for_the_target_and_zero_is_in_the_middle() -> None:
    picture, scale = to_picture(np.array([[-2.0, 0.0], [1.0, 2.0]], np.float32))
    shades = np.asarray(Image.open(io.BytesIO(picture)))
    assert shades.tolist() == [[1, 128], [192, 255]]
    assert scale == 2


def test_a_map_of_zeros_stays_one() -> None:
    picture, scale = to_picture(np.zeros((4, 5), np.float32))
    assert scale == 0
    assert np.array_equal(from_picture(picture, scale), np.zeros((4, 5), np.float32))
