"""Maps as pictures: heat map, overlay, masked image, alpha scaling, and a grid of many.

Every picture starts from the same normalised map (`normalize`), which is that of
`captum.attr.visualization`: channels summed, one sign kept, and scaled so that the strongest values
that make up `outlier_perc` percent of the whole do not darken all the rest. Red speaks for the
target and blue against it; a map without a sign goes from dark to bright.
"""

from expound_client.pictures.color_bar import scale
from expound_client.pictures.drawing import (
    OPACITY,
    alpha_scaled,
    heatmap,
    masked,
    overlay,
)
from expound_client.pictures.grid import Row, grid
from expound_client.pictures.normalization import (
    OUTLIER_PERC,
    SIGNS,
    NormalizedMap,
    Sign,
    normalize,
)

__all__ = [
    "OPACITY",
    "OUTLIER_PERC",
    "SIGNS",
    "NormalizedMap",
    "Row",
    "Sign",
    "alpha_scaled",
    "grid",
    "heatmap",
    "masked",
    "normalize",
    "overlay",
    "scale",
]
