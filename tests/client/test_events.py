"""Events as they are read: each map has the method, the input and the segments that are its own."""

import numpy as np
import pytest

from expound.tensors import to_tensor
from expound.v1 import explanation_pb2
from expound_client.errors import ExpoundError
from expound_client.events import EventReader, MethodProgressed, MethodStateChanged
from expound_client.images import SeenImages
from expound_client.inputs import to_inputs
from expound_client.models import Model
from tests.client import canned

METHODS = {"first": "lime", "second": "kernel_shap"}


@pytest.fixture
def reader() -> EventReader:
    sources = to_inputs([canned.png(), np.zeros((8, 8, 3), np.uint8)])
    return EventReader(METHODS, SeenImages(sources, Model.from_proto(canned.card())))


def _progressed(
    reader: EventReader, key: str, input_index: int, segments: np.ndarray | None = None
) -> MethodProgressed:
    partial = canned.partial(1, with_segments=False)
    partial.input_index = input_index
    if segments is not None:
        partial.segments.CopyFrom(to_tensor(segments))
    further = explanation_pb2.MethodProgressed(key=key, partials=[partial])
    read = reader.read(explanation_pb2.ExplanationEvent(sequence=5, method_progressed=further))
    assert isinstance(read, MethodProgressed)
    return read


def test_segments_are_those_of_their_method_and_input(reader: EventReader) -> None:
    places = [(key, index) for key in METHODS for index in (0, 1)]
    for number, (key, index) in enumerate(places):
        _progressed(reader, key, index, np.full((8, 8), number, np.int32))
    for number, (key, index) in enumerate(places):
        (partial,) = _progressed(reader, key, index).partials
        assert partial.segments is not None
        assert np.unique(partial.segments).tolist() == [number]
        assert (partial.key, partial.method, partial.input_index) == (key, METHODS[key], index)


def test_a_partial_map_is_drawn_over_its_own_input(reader: EventReader) -> None:
    colours = [
        np.asarray(_progressed(reader, "first", index).partials[0].seen.image).max()
        for index in (0, 1)
    ]
    assert colours == [255, 0]


def test_a_partial_map_without_segments_says_so(reader: EventReader) -> None:
    (partial,) = _progressed(reader, "first", 0).partials
    assert partial.segments is None
    with pytest.raises(ExpoundError):
        _ = partial.values


def test_a_change_of_a_method_says_which_attempt_it_is_of(reader: EventReader) -> None:
    change = explanation_pb2.MethodStateChanged(
        key="second", state=explanation_pb2.STATE_RUNNING, attempt=3
    )
    read = reader.read(explanation_pb2.ExplanationEvent(sequence=5, method_state_changed=change))
    assert isinstance(read, MethodStateChanged)
    assert (read.key, read.attempt, read.result, read.error) == ("second", 3, None, None)
