"""Where a watch stands: what it has seen, and how long it may go on."""

import grpc
import pytest

from expound.reasons import Reason, status
from expound.v1 import explanation_pb2
from expound_client import StateChanged, stream
from expound_client.errors import DeadlineExceededError
from expound_client.events import EventReader
from expound_client.images import SeenImages
from expound_client.time_limit import TimeLimit
from expound_client.watch import Watch
from tests.client import canned
from tests.client.fake_service import FakeService, raised_by


def _watch(timeout_s: float | None = None) -> Watch:
    reader = EventReader({}, SeenImages([], None))
    limit = TimeLimit(timeout_s)
    return Watch(canned.NAME, reader, after_sequence=3, limit=limit, values=False)


def _event(sequence: int) -> explanation_pb2.ExplanationEvent:
    running = explanation_pb2.StateChanged(state=explanation_pb2.STATE_RUNNING)
    return explanation_pb2.ExplanationEvent(sequence=sequence, state_changed=running)


def test_an_event_that_comes_again_is_not_given_again() -> None:
    taken_up = _watch()
    given = [taken_up.read(_event(sequence)) for sequence in (2, 3, 4, 4, 3, 5)]
    assert [isinstance(event, StateChanged) for event in given] == [0, 0, 1, 0, 0, 1]
    assert taken_up.request().after_sequence == 5


def test_a_pause_is_no_longer_than_the_time_that_is_left(service: FakeService) -> None:
    refused = raised_by(service, status(Reason.REDIS_UNAVAILABLE, "no Redis", retry_after_s=60))
    assert 50 < _watch().pause_s(refused) <= 60
    assert 0 < _watch(10).pause_s(refused) <= 10
    assert _watch(0).pause_s(refused) == 0


def test_no_stream_is_taken_up_when_time_is_over() -> None:
    assert _watch().stream_timeout_s() == stream._STREAM_TIMEOUT_S
    assert 0 < _watch(10).stream_timeout_s() <= 10
    with pytest.raises(DeadlineExceededError, match="was not done within 0 s"):
        _watch(0).stream_timeout_s()


def test_a_stream_that_lasted_its_time_is_taken_up_at_once(service: FakeService) -> None:
    ended = raised_by(service, status(Reason.DEADLINE_EXCEEDED, "over"))
    assert ended.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert _watch().pause_s(ended) == 0
