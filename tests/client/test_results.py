"""Results as they are read from the contract's messages."""

import pytest

from expound.reasons import Reason, status
from expound.v1 import explanation_pb2
from expound_client.errors import ExplanationFailedError, InternalError
from expound_client.images import SeenImages
from expound_client.inputs import to_inputs
from expound_client.models import Model
from expound_client.results import ExplanationResult, Progress, Provenance, State
from tests.client import canned


def _result(message: explanation_pb2.Explanation) -> ExplanationResult:
    seen = SeenImages(to_inputs(canned.png()), Model.from_proto(canned.card()))
    return ExplanationResult.from_proto(message, seen)


def _of_inputs(count: int) -> explanation_pb2.Explanation:
    message = explanation_pb2.Explanation(state=explanation_pb2.STATE_SUCCEEDED)
    result = message.results.add(key="saliency", method="saliency", state=message.state)
    for index in range(count):
        result.attributions.append(canned.attribution("saliency"))
        result.attributions[-1].input_index = index
    return message


@pytest.mark.parametrize(("input_index", "found"), [(None, [0, 1]), (0, [0]), (1, [1]), (2, [])])
def test_attributions_are_of_one_input_where_that_is_asked_for(
    input_index: int | None, found: list[int]
) -> None:
    attributions = _result(_of_inputs(2)).attributions("saliency", input_index)
    assert [each.input_index for each in attributions] == found


def test_each_attribution_has_its_own_input() -> None:
    first, second = _result(_of_inputs(2)).attributions("saliency")
    assert (first.seen.known, second.seen.known) == (True, False)


def test_what_is_not_told_is_none() -> None:
    progress = Progress.from_proto(explanation_pb2.Progress(evaluations_done=3))
    assert (progress.time_left_s, progress.standard_error) == (None, None)
    message = explanation_pb2.Progress(standard_error=0)
    message.time_left.FromMilliseconds(1500)
    told = Progress.from_proto(message)
    assert (told.time_left_s, told.standard_error) == (1.5, 0)
    result = _result(explanation_pb2.Explanation(state=explanation_pb2.STATE_PENDING))
    assert (result.error, result.create_time, result.end_time) == (None, None, None)
    assert not result.reused


def test_provenance_and_reuse_are_told() -> None:
    message = explanation_pb2.Provenance(
        model="models/small",
        model_version="2",
        model_digest="ab",
        input_digests=["cd", "ef"],
        seed=7,
        library_versions={"torch": "2"},
        device="cuda:0",
        worker="one",
    )
    result = _result(
        explanation_pb2.Explanation(
            state=explanation_pb2.STATE_SUCCEEDED, provenance=message, reused=True
        )
    )
    assert result.reused
    assert result.provenance == Provenance(
        "small", "2", "ab", ("cd", "ef"), 7, {"torch": "2"}, "cuda:0", "one"
    )


def test_what_ended_an_explanation_is_told_with_all_its_details() -> None:
    error = status(
        Reason.INTERNAL, "broken", metadata={"id": "1"}, violations=[("seed", "is too large")]
    )
    message = explanation_pb2.Explanation(state=explanation_pb2.STATE_FAILED, error=error)
    result = _result(message)
    assert isinstance(result.error, InternalError)
    failed = ExplanationFailedError("it failed", result)
    assert (failed.reason, failed.metadata) == (Reason.INTERNAL, {"id": "1"})
    assert [each.field for each in failed.violations] == ["seed"]


def test_a_state_is_terminal_where_nothing_follows_it() -> None:
    assert {state for state in State if not state.terminal} == {State.PENDING, State.RUNNING}
