"""What is no explanation does not become one."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from expound.pictures import from_picture
from expound.reasons import Reason
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2, tensor_pb2
from expound_worker import attributions
from expound_worker.attributions import Attributions, to_attribution
from expound_worker.methods.method import LOGIT, Answer, MethodError
from expound_worker.models.preprocessing import Preprocessing

SCORE = explanation_pb2.ClassScore(index=3)
OUTPUT = explanation_pb2.OutputOptions()
HALF = explanation_pb2.OutputOptions(values_dtype=tensor_pb2.DATA_TYPE_FLOAT16)
PICTURE = explanation_pb2.OutputOptions(encoding=explanation_pb2.OutputOptions.ENCODING_PNG)
SUMMED = explanation_pb2.OutputOptions(channels=explanation_pb2.OutputOptions.CHANNELS_SUM)
IMAGE = explanation_pb2.Input(image=b"encoded")
UNIT_RANGE = Preprocessing((1, 3, 4), None, (0.0,), (1.0,))
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


def test_the_standard_error_is_the_largest_of_all_segments() -> None:
    unsure = replace(SOUND, weights=np.ones(3), standard_errors=np.array([0.5, 2.0, 0.0]))
    assert to_attribution(unsure, 0, SCORE, OUTPUT).standard_error == 2.0


@pytest.mark.parametrize(("value", "said"), [(0, "zero everywhere"), (7, "same everywhere")])
def test_a_map_that_shows_nothing_says_so(value: int, said: str) -> None:
    flat = replace(SOUND, values=np.full((3, 4), value, np.float32))
    (warning,) = to_attribution(flat, 0, SCORE, OUTPUT).warnings
    assert said in warning


def test_a_map_that_float16_holds_has_no_warning() -> None:
    for scale in (1e-4, 1.0, 1e3):
        assert not to_attribution(
            replace(SOUND, values=scale * SOUND.values), 0, SCORE, HALF
        ).warnings


def test_values_beyond_float16_are_an_error_that_asks_for_float32() -> None:
    large = replace(SOUND, values=1e4 * SOUND.values)
    with pytest.raises(MethodError, match="ask for FLOAT32") as raised:
        to_attribution(large, 0, SCORE, HALF)
    assert raised.value.reason is Reason.NOT_FINITE
    assert not to_attribution(large, 0, SCORE, OUTPUT).warnings


@pytest.mark.parametrize(
    "values",
    [1e-10 * SOUND.values, 1e-8 * SOUND.values, 1 + 1e-6 * SOUND.values],
    ids=["none is left", "few are left", "they are all the same"],
)
def test_a_map_of_which_float16_leaves_little_says_so(values: NDArray[np.float32]) -> None:
    faint = replace(SOUND, values=values)
    (warning,) = to_attribution(faint, 0, SCORE, HALF).warnings
    assert "ask for FLOAT32" in warning
    assert not to_attribution(faint, 0, SCORE, OUTPUT).warnings


@pytest.mark.parametrize(("mean", "said"), [(0, "CHANNELS_KEEP"), (2, "same everywhere")])
def test_a_map_that_shows_nothing_when_its_channels_are_summed_says_so(
    mean: int, said: str
) -> None:
    values = np.stack([mean + SOUND.values, mean - SOUND.values])
    (warning,) = to_attribution(replace(SOUND, values=values), 0, SCORE, SUMMED).warnings
    assert said in warning
    assert not to_attribution(replace(SOUND, values=values), 0, SCORE, OUTPUT).warnings


def test_a_sum_over_channels_is_finite_too() -> None:
    values = np.full((3, 4, 4), 3e38, np.float32)
    with pytest.raises(MethodError) as raised:
        to_attribution(replace(SOUND, values=values), 0, SCORE, SUMMED)
    assert raised.value.reason is Reason.NOT_FINITE


def test_more_maps_than_are_kept_of_one_method_are_an_error_as_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = to_attribution(SOUND, 0, SCORE, OUTPUT).ByteSize()
    monkeypatch.setattr(attributions, "MAX_RESULT_BYTES", 3 * one)
    kept = Attributions(explanation_pb2.ExplainRequest(inputs=[IMAGE]), UNIT_RANGE)
    for _ in range(3):
        kept.add(SOUND, 0, SCORE)
    with pytest.raises(MethodError, match="ask for fewer inputs or targets") as raised:
        kept.add(SOUND, 0, SCORE)
    assert raised.value.reason is Reason.MESSAGE_TOO_LARGE
    assert len(kept.result.attributions) == 3


def test_a_picture_holds_the_sum_over_channels_in_place_of_values() -> None:
    values = np.random.default_rng(0).standard_normal((3, 8, 9)).astype(np.float32)
    sent = to_attribution(replace(SOUND, values=values), 0, SCORE, PICTURE)
    assert not sent.HasField("values") and not sent.warnings
    found = from_picture(sent.picture, sent.picture_scale)
    assert np.abs(found - values.sum(axis=0)).max() <= 0.501 * sent.picture_scale / 127


def test_a_map_of_which_a_picture_leaves_little_says_so() -> None:
    high = replace(SOUND, values=SOUND.values + 1000)
    (warning,) = to_attribution(high, 0, SCORE, PICTURE).warnings
    assert "ask for FLOAT32" in warning


def test_only_the_maps_of_an_input_that_is_unlikely_say_so() -> None:
    pixels = explanation_pb2.Input(tensor=to_tensor(np.full((1, 3, 4), 255, np.float32)))
    kept = Attributions(explanation_pb2.ExplainRequest(inputs=[IMAGE, pixels]), UNIT_RANGE)
    kept.add(SOUND, 0, SCORE)
    kept.add(SOUND, 1, SCORE)
    image, (warning,) = [each.warnings for each in kept.result.attributions]
    assert not image
    assert warning.startswith("inputs[1].tensor reaches from 255 to 255")
