"""The completeness error is relative to the difference of the scores, and is never misled by it."""

import math

import pytest

from expound_worker.methods.completeness import completeness_error


def test_error_is_the_share_of_the_difference_that_is_missed() -> None:
    assert completeness_error(-0.5, output=7.0, baseline_output=2.0) == pytest.approx(0.1)
    assert completeness_error(0.5, output=2.0, baseline_output=7.0) == pytest.approx(0.1)


def test_scores_that_are_equal_but_for_rounding_do_not_make_rounding_look_like_an_error() -> None:
    assert completeness_error(1e-6, output=10.0, baseline_output=10.0) == pytest.approx(1e-4)
    assert completeness_error(1e-6, output=10.0, baseline_output=10.0 + 1e-6) < 1e-3


def test_values_that_miss_scores_that_are_equal_by_much_are_wrong_all_the_same() -> None:
    assert completeness_error(0.5, output=10.0, baseline_output=10.0) == pytest.approx(50)


def test_scores_of_zero_are_missed_wholly_or_not_at_all() -> None:
    assert completeness_error(0.0, output=0.0, baseline_output=0.0) == 0
    assert completeness_error(1e-9, output=0.0, baseline_output=0.0) == math.inf


def test_error_of_a_map_that_is_not_finite_is_not_finite() -> None:
    assert math.isnan(completeness_error(math.nan, output=1.0, baseline_output=0.0))
