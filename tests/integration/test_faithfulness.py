"""An explanation shows what it should: the parts ranked best keep the prediction by themselves.

The grey of the zero baseline is kind to this photo: random quarters of it in SLIC segments keep
half of the probability or more, in small cells next to nothing. Each method is asked with segments
among which the two can be told apart.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from expound_client import Attribution, Client
from expound_client import methods as m
from tests import photos

NAME = "efficientnet_lite0"
AREA = 0.25


def probability(kept: NDArray[np.bool_], target: int) -> float:
    """Probability of the target when only the kept pixels are shown, over the baseline."""
    image = photos.model_input(NAME, photos.chelsea())
    composite = torch.where(torch.from_numpy(kept), image, 0.0)
    with torch.inference_mode():
        return float(photos.model(NAME).module(composite).softmax(1)[0, target])


def best_pixels(attribution: Attribution) -> NDArray[np.bool_]:
    """The best-ranked segments, or pixels where there are none, up to a quarter of the image."""
    if attribution.segments is None or attribution.weights is None:
        best: NDArray[np.bool_] = attribution.values >= np.quantile(attribution.values, 1 - AREA)
        return best
    return _up_to_area(attribution.segments, np.argsort(-attribution.weights))


def random_pixels(
    attribution: Attribution, random: np.random.Generator, area: float
) -> NDArray[np.bool_]:
    """As many pixels of random segments, or of random cells of 16x16 pixels."""
    rows, columns = np.indices(attribution.values.shape) // 16
    cells = np.asarray(rows * 14 + columns, dtype=np.int32)
    segments = cells if attribution.segments is None else attribution.segments
    return _up_to_area(segments, random.permutation(int(segments.max()) + 1), area)


def _up_to_area(
    segments: NDArray[np.int32], order: NDArray[np.int64], area: float = AREA
) -> NDArray[np.bool_]:
    kept = np.zeros(segments.shape, dtype=bool)
    for segment in order:
        more = kept | (segments == segment)
        if more.mean() > area:
            break
        kept = more
    return kept


def test_the_best_quarter_alone_keeps_the_prediction(client: Client) -> None:
    explanation = client.explain(
        photos.chelsea(),
        model=NAME,
        target="top1",
        methods=[
            "grad_cam",
            m.Lime(n_samples=700, segmentation=m.GridSegmentation(rows=10, columns=10)),
            m.KernelShap(n_samples=700, segmentation=m.SlicSegmentation(n_segments=24)),
        ],
    )
    result = explanation.result(timeout_s=200)
    random = np.random.default_rng(0)
    for key in ("grad_cam", "lime", "kernel_shap"):
        attribution = result[key]
        target = attribution.target
        best = best_pixels(attribution)
        kept = probability(best, target.index)
        by_chance = np.mean(
            [
                probability(random_pixels(attribution, random, max(best.mean(), 0.2)), target.index)
                for _ in range(20)
            ]
        )
        print(f"{key}: {best.mean():.0%} of the area keeps {kept / target.probability:.2f} of it,")
        print(f"  random parts {by_chance / target.probability:.2f}")
        assert best.mean() <= AREA + 0.01
        assert kept >= 0.8 * target.probability
        assert kept >= 2 * by_chance
