"""Segments that keep a weight are those that lime would choose over all masks, fitted alone."""

import numpy as np
import pytest
from lime.lime_base import LimeBase

from expound_worker.perturbation.functionals import LimeMasks, lime_slopes
from expound_worker.perturbation.lime_selection import most_influential
from tests.numeric.games import all_masks, game

COUNT, WIDTH = 9, 0.25


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kept", [1, 3, 6, 7, 9])
def test_weights_are_those_of_lime_with_every_mask(kept: int, seed: int) -> None:
    masks, scores = all_masks(COUNT), game(COUNT, seed=seed)
    sizes = masks.sum(axis=1)
    shares = lime_slopes(COUNT, WIDTH).shares(masks) / np.bincount(sizes)[sizes, None]
    slopes = shares.T @ scores(masks)[:, 0]
    found = most_influential(slopes, kept, LimeMasks.of(COUNT, WIDTH))

    # The whole image first, and many times over: lime's ridge penalty then has no weight.
    rows = np.repeat(masks[::-1].astype(int), 200, axis=0)
    base = LimeBase(lambda distances: np.sqrt(np.exp(-((distances / WIDTH) ** 2))))
    distances = 1 - np.sqrt(rows.mean(axis=1))
    fit = base.explain_instance_with_data(rows, scores(rows > 0), distances, 0, kept, "auto")
    expected = np.zeros(COUNT)
    for segment, weight in fit[1]:
        expected[segment] = weight
    assert np.array_equal(found == 0, expected == 0)
    assert np.allclose(found, expected, rtol=1e-2, atol=2e-3)
