"""Maps to and from PNG: the `picture` of an `Attribution`."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ZERO = 128
_STEPS = 127
"""Shades of grey from zero to the largest value."""


def to_picture(values: NDArray[np.float32]) -> tuple[bytes, float]:
    """Encodes a map.

    Args:
        values: (H, W), finite.

    Returns:
        A PNG of 8-bit grey, and the largest size of a value, which is 127 shades from zero.
    """
    scale = float(np.abs(values).max())
    shades = np.rint(values / (scale or 1.0) * _STEPS) + _ZERO
    encoded = io.BytesIO()
    Image.fromarray(shades.astype(np.uint8)).save(encoded, "PNG")
    return encoded.getvalue(), scale


def from_picture(picture: bytes, scale: float) -> NDArray[np.float32]:
    """Decodes a map (H, W), rounded to `scale` / 127."""
    with Image.open(io.BytesIO(picture), formats=["PNG"]) as image:
        shades = np.asarray(image, dtype=np.float64)
    return ((shades - _ZERO) / _STEPS * scale).astype(np.float32)
