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


@pytest.mark.parametrize("kept", [2, 4, 6])
def test_next_is_the_segment_with_which_a_fit_explains_most(kept: int) -> None:
    masks = LimeMasks.of(COUNT, 0.1)
    covariances = masks.variance * np.eye(COUNT) + masks.covariance
    for slopes in np.random.default_rng(0).standard_normal((100, COUNT)) + 1:
        with_score = covariances @ slopes
        chosen: list[int] = []
        while len(chosen) < kept:
            explained = np.full(COUNT, -np.inf)
            for segment in set(range(COUNT)) - set(chosen):
                more = [*chosen, segment]
                fit = np.linalg.solve(covariances[np.ix_(more, more)], with_score[more])
                explained[segment] = fit @ with_score[more]
            chosen.append(int(explained.argmax()))
        expected = np.zeros(COUNT)
        expected[chosen] = np.linalg.solve(covariances[np.ix_(chosen, chosen)], with_score[chosen])
        assert np.allclose(most_influential(slopes, kept, masks), expected)
