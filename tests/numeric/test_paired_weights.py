"""Weights from pairs: those of a Gaussian process, exact with all pairs, with honest errors."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from expound_worker.perturbation import paired_weights
from expound_worker.perturbation.covariance import ROUGH, Covariance, Parity, signs_of
from expound_worker.perturbation.functionals import Functional, lime_slopes, shapley_values
from expound_worker.perturbation.gaussian_process import GaussianProcess
from expound_worker.perturbation.paired_designs import (
    leverage_pairs,
    orthogonal_pairs,
    pairs_of_size,
)
from expound_worker.perturbation.paired_weights import PairedWeights
from expound_worker.perturbation.residuals import Residuals
from tests.numeric.games import all_masks, game, lime_regression, shapley

FUNCTIONALS = {"shapley": shapley_values(7), "lime": lime_slopes(7, 0.25)}
both_functionals = pytest.mark.parametrize("functional", FUNCTIONALS.values(), ids=FUNCTIONALS)


def shares_of_all(functional: Functional) -> NDArray[np.float64]:
    """(2^M, M) what each coalition's score adds to each weight."""
    masks = all_masks(functional.segment_count)
    sizes = masks.sum(axis=1)
    shares: NDArray[np.float64] = functional.shares(masks) / np.bincount(sizes)[sizes, None]
    return shares


def chunks(weights: PairedWeights, scores: NDArray[np.float64], size: int) -> Iterator[None]:
    """Gives the scores of the plan in pieces."""
    for start in range(0, len(scores), size):
        weights.add(scores[start : start + size])
        yield


def estimate(
    weights: PairedWeights, scores: NDArray[np.float64], size: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    list(chunks(weights, scores, size))
    return weights.estimate()


def test_shapleys_functional_is_his_formula() -> None:
    expected = shapley(game(7, 2), 7)
    weights = shares_of_all(shapley_values(7)).T @ game(7, 2)(all_masks(7))
    assert np.allclose(weights, expected, atol=1e-12)


@pytest.mark.parametrize("width", [0.1, 0.25, 3.0])
def test_limes_functional_is_its_regression_on_every_mask(width: float) -> None:
    expected = lime_regression(game(7, 2), 7, width)
    weights = shares_of_all(lime_slopes(7, width)).T @ game(7, 2)(all_masks(7))
    assert np.allclose(weights, expected, atol=1e-9)


@both_functionals
@pytest.mark.parametrize("parity", Parity)
def test_a_process_gives_what_its_covariance_says(functional: Functional, parity: Parity) -> None:
    everything = all_masks(7)
    signs = signs_of(everything)
    # A coalition's rough part is its complement's too, with the sign of the parity.
    full = Covariance(7, parity)(signs, signs) + ROUGH * (
        np.eye(128) + int(parity) * np.eye(128)[::-1]
    )
    shares = shares_of_all(functional)
    observed = np.random.default_rng(0).permutation(np.arange(64, 128))[:40]
    values = np.random.default_rng(1).standard_normal((40, 2))
    process = GaussianProcess(functional, parity, 2)
    for start in range(0, 40, 7):
        here = observed[start : start + 7]
        process.add(everything[here], values[start : start + 7])
    within, across = full[np.ix_(observed, observed)], full[observed] @ shares
    solved = np.linalg.solve(within, np.column_stack([values, across]))
    assert np.allclose(process.weights, across.T @ solved[:, :2], atol=1e-9)
    left = np.diag(shares.T @ full @ shares - across.T @ solved[:, 2:])
    scales = (values * solved[:, :2]).mean(axis=0)
    assert np.allclose(process.variances, left[:, None] * scales, rtol=1e-6, atol=1e-12)
    influence, errors = process.misses()
    within_inverse = np.linalg.inv(within)
    own = (shares + int(parity) * shares[::-1])[64:]
    unseen = (np.delete(own, observed - 64, axis=0) ** 2).sum(axis=0).mean()
    amiss = ((own[observed - 64] - influence)[1:] ** 2).sum(axis=0) + unseen
    unforeseen = [
        values[n] - within[n, :n] @ np.linalg.solve(within[:n, :n], values[:n])
        for n in range(20, 40)
    ]
    assert np.allclose(
        process.rough_variances(influence),
        np.outer(amiss, np.square(unforeseen).mean(axis=0)),
        rtol=1e-6,
    )
    assert np.allclose(influence, within_inverse @ across)
    alone = within_inverse @ values / np.diag(within_inverse)[:, None]
    assert np.corrcoef(errors.ravel(), alone.ravel())[0, 1] > 0.95
    assert np.allclose(
        process.predict(everything[~np.isin(np.arange(128), observed)][64:]),
        full[~np.isin(np.arange(128), observed)][64:][:, observed] @ solved[:, :2],
    )


@pytest.mark.parametrize("learned", [512, 20])
@pytest.mark.parametrize("chunk", [1, 16, 200])
def test_all_pairs_give_the_weights_without_error(
    learned: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired_weights, "_LEARNED", learned)
    scores = game(8, 2)
    values = PairedWeights(shapley_values(8), [Parity.ODD], leverage_pairs(999, 8, 0), 2)
    slopes = PairedWeights(lime_slopes(8, 0.25), list(Parity), orthogonal_pairs(999, 8, 0), 2)
    assert len(np.unique(values.plan, axis=0)) == len(values.plan) == 2**8
    for weights, expected in (
        (values, shapley(scores, 8)),
        (slopes, lime_regression(scores, 8, 0.25)),
    ):
        found, errors = estimate(weights, scores(weights.plan), chunk)
        assert np.allclose(found, expected, atol=1e-9)
        assert np.array_equal(errors, np.zeros((8, 2)))


def test_constant_scores_have_no_weights() -> None:
    weights = PairedWeights(lime_slopes(9, 0.25), list(Parity), orthogonal_pairs(30, 9, 0), 1)
    found, errors = estimate(weights, np.full((62, 1), 0.7))
    assert np.allclose(found, 0, atol=1e-12) and np.allclose(errors, 0, atol=1e-12)


@pytest.mark.parametrize(("pairs", "needed"), [(0, 1), (1, 2), (2, 3), (3, 3), (20, 3)])
def test_errors_say_something_with_two_pairs_and_the_ends_or_where_there_are_no_more(
    pairs: int, needed: int
) -> None:
    scores = game(8)
    weights = PairedWeights(shapley_values(8), [Parity.ODD], leverage_pairs(99, 8, 0)[:pairs], 1)
    evaluations = [weights.enough for _ in chunks(weights, scores(weights.plan), 1)]
    assert evaluations.index(True) == 2 * needed - 1
    assert all(evaluations[2 * needed - 1 :])


def test_values_sum_to_the_difference_of_the_ends_at_any_time() -> None:
    scores = game(12)
    weights = PairedWeights(shapley_values(12), [Parity.ODD], leverage_pairs(600, 12, 0), 1)
    difference = np.diff(scores(weights.plan[:2]), axis=0)[0]
    for _ in chunks(weights, scores(weights.plan), 50):
        assert np.allclose(weights.estimate()[0].sum(axis=0), difference)


@pytest.mark.parametrize("pairs", [100, 600])
def test_standard_errors_cover_the_truth(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired_weights, "_LEARNED", 150)
    scores = game(13)
    expected = shapley(scores, 13)
    within, told, missed = [], [], []
    for seed in range(40):
        design = leverage_pairs(pairs, 13, seed)
        weights = PairedWeights(shapley_values(13), [Parity.ODD], design, 1)
        found, errors = estimate(weights, scores(weights.plan), 64)
        within.append(np.abs(found - expected) < 1.96 * errors)
        told.append(errors**2)
        missed.append((found - expected) ** 2)
    assert 0.9 < np.mean(within) < 0.99
    assert 0.8 < np.sqrt(np.mean(told) / np.mean(missed)) < 1.4


def test_residuals_are_estimated_without_bias() -> None:
    scores = game(9)
    functional = shapley_values(9)
    seen = leverage_pairs(80, 9, 0)
    known = {mask.tobytes() for mask in np.concatenate([seen, ~seen])}
    rest = np.array([mask for mask in leverage_pairs(999, 9, 1) if mask.tobytes() not in known])
    # The surrogate is exact on what it has seen, and 0 elsewhere.
    odd = (scores(rest) - scores(~rest)) / 2
    expected = sum(
        (functional.shares(mask[None]) - functional.shares(~mask[None]))[0]
        * value
        / pairs_of_size(9)[min(mask.sum(), 9 - mask.sum())]
        for mask, value in zip(rest, odd, strict=True)
    )
    found, told = [], []
    for seed in range(300):
        drawn = np.random.default_rng(seed).permutation(len(rest))[:80]
        residuals = Residuals(functional, np.array([Parity.ODD]), seen, 1)
        residuals.add(rest[drawn], odd[None, drawn])
        weights, variances = residuals.estimate()
        found.append(weights[:, 0])
        told.append(variances[:, 0])
    spread = np.std(found, axis=0)
    assert np.all(np.abs(np.mean(found, axis=0) - expected) < 4 * spread / np.sqrt(300))
    assert np.allclose(np.sqrt(np.mean(told, axis=0)), spread, rtol=0.2)


def test_errors_know_of_scores_that_vary_among_large_masks_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rough = np.random.default_rng(3).standard_normal(2**12)
    scores = rough_scores(rough * (all_masks(12).sum(axis=1) > 6))
    within, ratio = honesty(scores)
    assert 0.9 < within < 0.99 and 1 < ratio < 1.3
    monkeypatch.setattr(paired_weights, "_together", lambda *_: 1.0)
    assert honesty(scores)[1] < 0.9


def test_errors_know_of_scores_without_any_pattern() -> None:
    """Those of a process that takes scores for smooth held 0.8 of them."""
    within, ratio = honesty(rough_scores(np.random.default_rng(0).standard_normal(2**12)))
    assert 0.93 < within < 0.995 and 0.95 < ratio < 1.5


def rough_scores(table: NDArray[np.float64]) -> Callable[[NDArray[np.bool_]], NDArray[np.float64]]:
    return lambda masks: table[masks @ (1 << np.arange(masks.shape[1])), None]


def honesty(scores: Callable[[NDArray[np.bool_]], NDArray[np.float64]]) -> tuple[float, float]:
    """Share of LIME's 12 slopes within 1.96 standard errors, and these beside what was missed."""
    functional = lime_slopes(12, 0.25)
    expected = shares_of_all(functional).T @ scores(all_masks(12))
    within, told, missed = [], [], []
    for seed in range(40):
        weights = PairedWeights(functional, list(Parity), orthogonal_pairs(120, 12, seed), 1)
        found, errors = estimate(weights, scores(weights.plan), 64)
        within.append(np.abs(found - expected) < 1.96 * errors)
        told.append(errors**2)
        missed.append((found - expected) ** 2)
    return float(np.mean(within)), float(np.sqrt(np.mean(told) / np.mean(missed)))


@pytest.mark.parametrize("functional", [shapley_values(1031), lime_slopes(1031, 0.25)])
def test_weights_are_finite_of_more_masks_than_a_float_can_count(
    functional: Functional, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired_weights, "_LEARNED", 20)
    weights = PairedWeights(functional, list(Parity), leverage_pairs(40, 1031, 0), 1)
    found, errors = estimate(weights, weights.plan.mean(axis=1, keepdims=True))
    assert found.sum() == pytest.approx(1, abs=0.5)
    assert np.isfinite(errors).all() and errors.min() > 0
