"""Maps as pictures: heat map, overlay, masked image, alpha scaling, error bars, a grid of many.

Every picture of pixels starts from the same normalised map (`normalize`), which is that of
`captum.attr.visualization`: channels summed, one sign kept, and scaled so that the strongest values
that make up `outlier_perc` percent of the whole do not darken all the rest. Red speaks for the
target and blue against it; a map without a sign goes from dark to bright. Error bars are those of
the weights of segments.
"""

from expound_client.pictures.color_bar import scale
from expound_client.pictures.drawing import (
    OPACITY,
    alpha_scaled,
    heatmap,
    masked,
    overlay,
)
from expound_client.pictures.error_bars import bars, error_bars
from expound_client.pictures.grid import Row, grid
from expound_client.pictures.normalization import (
    OUTLIER_PERC,
    SIGNS,
    NormalizedMap,
    Sign,
    normalize,
)
from expound_client.pictures.numbered import numbered
from expound_client.pictures.strongest import COUNT, SegmentWeight, strongest

__all__ = [
    "COUNT",
    "OPACITY",
    "OUTLIER_PERC",
    "SIGNS",
    "NormalizedMap",
    "Row",
    "SegmentWeight",
    "Sign",
    "alpha_scaled",
    "bars",
    "error_bars",
    "grid",
    "heatmap",
    "masked",
    "normalize",
    "numbered",
    "overlay",
    "scale",
    "strongest",
]
