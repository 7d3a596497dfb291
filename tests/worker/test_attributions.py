"""What is no explanation does not become one."""

from dataclasses import replace

import numpy as np
import pytest

from expound.reasons import Reason
from expound.v1 import explanation_pb2
from expound_worker.attributions import to_attribution
from expound_worker.methods.method import LOGIT, Answer, MethodError

SCORE = explanation_pb2.ClassScore(index=3)
OUTPUT = explanation_pb2.OutputOptions()
SOUND = Answer(np.arange(12, dtype=np.float32).reshape(3, 4), LOGIT, output=1.0, evaluations=1)


def test_a_sound_map_has_no_warning() -> None:
    assert not to_attribution(SOUND, 0, SCORE, OUTPUT).warnings


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SOUND, values=np.full((3, 4), np.nan, np.float32)),
        replace(SOUND, values=np.full((3, 4), np.inf, np.float32)),
        replace(SOUND, output=float("nan")),
        replace(SOUND, baseline_output=float("-inf"), convergence_delta=float("inf")),
        replace(SOUND, completeness_error=float("nan")),
        replace(SOUND, standard_error=float("nan")),
        replace(SOUND, weights=np.array([1.0, np.nan])),
        replace(SOUND, r_squared=float("nan")),
    ],
    ids=["NaN", "infinity", "output", "baseline", "completeness", "error", "weights", "r_squared"],
)
def test_nan_and_infinity_are_refused_wherever_they_are(wrong: Answer) -> None:
    with pytest.raises(MethodError) as raised:
        to_attribution(wrong, 0, SCORE, OUTPUT)
    assert raised.value.reason is Reason.NOT_FINITE


@pytest.mark.parametrize(("value", "said"), [(0, "zero everywhere"), (7, "same everywhere")])
def test_a_map_that_shows_nothing_says_so(value: int, said: str) -> None:
    flat = replace(SOUND, values=np.full((3, 4), value, np.float32))
    (warning,) = to_attribution(flat, 0, SCORE, OUTPUT).warnings
    assert said in warning
