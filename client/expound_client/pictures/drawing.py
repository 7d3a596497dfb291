"""The four kinds of pictures of one map."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from expound_client.errors import InvalidArgumentError
from expound_client.pictures.color_bar import with_color_bar
from expound_client.pictures.colors import colored
from expound_client.pictures.normalization import OUTLIER_PERC, NormalizedMap, Sign, normalize
from expound_client.pictures.text import label_empty

OPACITY = 0.85
_PALENESS = 0.35


def heatmap(
    values: NDArray[np.floating],
    *,
    sign: Sign = "all",
    outlier_perc: float = OUTLIER_PERC,
    colors: str | None = None,
    color_bar: bool = False,
) -> Image.Image:
    """Draws a map alone.

    Args:
        values: (C, H, W) or (H, W).
        sign: which values are drawn.
        outlier_perc: as for `normalize`.
        colors: name of a colour map of the `cmap` library; None: blue to white to red where there
            is something against the target, else dark to bright; for `sign` "positive" the reds,
            for "negative" the blues.
        color_bar: whether a colour bar with its values stands below; a small picture is then
            enlarged by a whole factor.

    Returns:
        An RGB image of the map's size. One with nothing to draw is labelled "empty".
    """
    drawn = normalize(values, sign=sign, outlier_perc=outlier_perc)
    return _finished(Image.fromarray(colored(drawn, colors)), drawn, colors, color_bar)


def overlay(
    values: NDArray[np.floating],
    image: Image.Image,
    *,
    sign: Sign = "all",
    outlier_perc: float = OUTLIER_PERC,
    opacity: float = OPACITY,
    even: bool = False,
    colors: str | None = None,
    color_bar: bool = False,
) -> Image.Image:
    """Draws a map over the image, blended.

    The image shows in pale grey; the stronger the map is at a pixel, the more of its colour
    covers the image.

    Args:
        values: (C, H, W) or (H, W).
        image: the image, brought to the map's size if it has another.
        sign: which values are drawn.
        outlier_perc: as for `normalize`.
        opacity: how much of the image the strongest colour covers, 0 to 1.
        even: whether every colour covers as much as the strongest, as in Captum's blended heat
            map.
        colors: as for `heatmap`.
        color_bar: as for `heatmap`.

    Returns:
        An RGB image of the map's size. One with nothing to draw is labelled "empty".

    Raises:
        InvalidArgumentError: `opacity` is no share, or another argument is none of its kind.
    """
    if not 0 <= opacity <= 1:
        raise InvalidArgumentError.of("opacity", f"must be from 0 to 1, not {opacity}")
    drawn = normalize(values, sign=sign, outlier_perc=outlier_perc)
    gray = _pixels(image.convert("L"), drawn)[..., None]
    pale = gray * (1 - _PALENESS) + 255 * _PALENESS
    # The root lets the weaker half of a map be seen too.
    strength = np.sqrt(np.abs(drawn.positions))[..., None]
    cover = opacity * (np.ones_like(strength) if even and not drawn.empty else strength)
    mixed = colored(drawn, colors) * cover + pale * (1 - cover)
    return _finished(_picture(mixed), drawn, colors, color_bar)


def masked(
    values: NDArray[np.floating],
    image: Image.Image,
    *,
    sign: Sign = "absolute",
    outlier_perc: float = OUTLIER_PERC,
) -> Image.Image:
    """Draws the image, the darker the weaker the map is at a pixel.

    Args:
        values: (C, H, W) or (H, W).
        image: the image, brought to the map's size if it has another.
        sign: which values are drawn; not "all", for brightness has no sign.
        outlier_perc: as for `normalize`.

    Returns:
        An RGB image of the map's size. One with nothing to draw is black and labelled "empty".

    Raises:
        InvalidArgumentError: `sign` is "all".
    """
    drawn = _unsigned(values, sign, outlier_perc)
    pixels = _pixels(image.convert("RGB"), drawn)
    return _finished(_picture(pixels * drawn.positions[..., None]), drawn)


def alpha_scaled(
    values: NDArray[np.floating],
    image: Image.Image,
    *,
    sign: Sign = "absolute",
    outlier_perc: float = OUTLIER_PERC,
) -> Image.Image:
    """Draws the image, the more transparent the weaker the map is at a pixel.

    Args:
        values: (C, H, W) or (H, W).
        image: the image, brought to the map's size if it has another.
        sign: which values are drawn; not "all", for transparency has no sign.
        outlier_perc: as for `normalize`.

    Returns:
        An RGBA image of the map's size. One with nothing to draw is transparent and labelled
        "empty".

    Raises:
        InvalidArgumentError: `sign` is "all".
    """
    drawn = _unsigned(values, sign, outlier_perc)
    pixels = _pixels(image.convert("RGB"), drawn)
    alpha = 255 * drawn.positions[..., None]
    return _finished(_picture(np.concatenate([pixels, alpha], axis=2)), drawn)


def _unsigned(values: NDArray[np.floating], sign: Sign, outlier_perc: float) -> NormalizedMap:
    if sign == "all":
        raise InvalidArgumentError.of(
            "sign",
            'must be "positive", "negative" or "absolute": this picture has no place for both '
            "signs",
        )
    return normalize(values, sign=sign, outlier_perc=outlier_perc)


def _pixels(image: Image.Image, drawn: NormalizedMap) -> NDArray[np.float32]:
    """The pixels of an image, brought to the size of a map."""
    height, width = drawn.positions.shape
    return np.asarray(image.resize((width, height)), dtype=np.float32)


def _picture(pixels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(pixels.round().astype(np.uint8))


def _finished(
    picture: Image.Image,
    drawn: NormalizedMap,
    colors: str | None = None,
    color_bar: bool = False,
) -> Image.Image:
    """The picture with its label, if the map is empty, and its colour bar, if it is to have one."""
    labelled = label_empty(picture) if drawn.empty else picture
    return with_color_bar(labelled, drawn, colors) if color_bar else labelled
