"""The blocking client against a fake service, over a real channel."""

import itertools
import math
import re
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from expound.reasons import Reason, status
from expound.v1 import explanation_pb2, explanation_service_pb2
from expound_client import (
    Client,
    Event,
    MethodLike,
    MethodProgressed,
    MethodStateChanged,
    PredictionsReady,
    State,
    StateChanged,
    errors,
    retries,
    stream,
)
from expound_client import methods as m
from tests.client import canned
from tests.client.fake_service import FakeService
from tests.processes import free_port

METHODS: list[MethodLike] = ["saliency", m.Lime(n_samples=100)]
# Sequence numbers of the canned events; number 3 is of a kind that the client does not know.
SEQUENCES = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


def sequences(events: Sequence[Event]) -> list[int]:
    return [event.sequence for event in events]


def test_an_explanation_gives_maps_by_the_keys_of_their_methods(client: Client) -> None:
    result = client.explain(canned.png(), model="small", methods=METHODS).result(20)
    assert result.state == State.SUCCEEDED
    assert list(result) == ["saliency", "lime"]
    saliency, lime = result["saliency"], result["lime"]
    assert saliency.values.dtype == np.float32
    assert np.array_equal(saliency.values, canned.gradient())
    assert (saliency.convergence_delta, saliency.standard_error) == (0.001, None)
    assert (saliency.completeness_error, saliency.n_steps) == (0.002, 50)
    assert (lime.completeness_error, lime.n_steps) == (None, None)
    assert saliency.target.label == "tabby"
    assert saliency.target.probability == pytest.approx(0.6)
    assert lime.segments is not None and np.array_equal(lime.segments, canned.SEGMENTS)
    assert lime.weights is not None and np.array_equal(lime.weights, canned.WEIGHTS)
    assert lime.standard_error == pytest.approx(0.02)
    assert result.predictions[0].classes[1].label == "tiger cat"
    assert result.provenance.model_version == "1"
    assert result.methods["lime"].duration_s == 0.5
    assert lime.overlay().size == saliency.heatmap().size == (8, 8)
    assert lime.masked(sign="negative").mode == "RGB"
    assert lime.alpha_scaled(canned.png(), sign="positive").mode == "RGBA"
    assert saliency.heatmap(sign="all", outlier_perc=5, color_bar=True).width > 192


def test_a_key_without_a_map_says_why(client: Client, service: FakeService) -> None:
    service.fails = True
    result = client.explain(canned.png(), model="small", methods=METHODS).result(20, partial=True)
    assert list(result) == ["saliency"]
    assert result.get("lime") is None
    with pytest.raises(KeyError, match="only 1 segment"):
        result["lime"]
    with pytest.raises(KeyError, match="saliency, lime"):
        result["shap"]


def test_the_request_says_what_was_asked(client: Client, service: FakeService) -> None:
    client.explain(
        [canned.png(), canned.photo()],
        model="small",
        methods=METHODS,
        target="lynx",
        seed=7,
        timeout_s=1.5,
        ttl_s=60,
        request_id="mine",
        values_dtype="float16",
        channels="sum",
    )
    (sent,) = service.requests["Explain"]
    assert isinstance(sent, explanation_pb2.ExplainRequest)
    assert (sent.model, sent.seed, sent.request_id, sent.target.label) == (
        "small",
        7,
        "mine",
        "lynx",
    )
    assert len(sent.inputs) == 2
    assert sent.timeout.ToMilliseconds() == 1500
    assert (sent.ttl.seconds, sent.HasField("wait")) == (60, False)
    assert sent.output.channels == explanation_pb2.OutputOptions.CHANNELS_SUM
    assert [method.WhichOneof("method") for method in sent.methods] == ["saliency", "lime"]


def test_each_call_has_a_request_id_of_its_own(client: Client, service: FakeService) -> None:
    for _ in range(2):
        client.explain(canned.png(), model="small", methods="saliency")
    first, second = (getattr(sent, "request_id", "") for sent in service.requests["Explain"])
    assert first and second and first != second


def test_an_empty_request_id_is_none(client: Client, service: FakeService) -> None:
    client.explain(canned.png(), model="small", methods="saliency", request_id="")
    (sent,) = service.requests["Explain"]
    assert getattr(sent, "request_id", "")


@pytest.mark.parametrize(
    ("wrong", "allowed"),
    [
        ({"wait_s": math.inf}, "wait: must be from 0 to 600 seconds, not inf"),
        ({"wait_s": 1e16}, "wait: must be from 0 to 600 seconds, not 1e+16"),
        ({"timeout_s": math.nan}, "timeout: must be above 0 to 86400 seconds, not nan"),
        ({"ttl_s": 1e300}, "ttl: must be from 1 to 2592000 seconds, not 1e+300"),
        ({"seed": 2**64}, f"seed: must be from 0 to 4294967295, not {2**64}"),
    ],
)
def test_a_number_that_no_message_holds_is_refused_with_what_is_allowed(
    client: Client, service: FakeService, wrong: dict[str, Any], allowed: str
) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=re.escape(allowed)) as caught:
        client.explain(canned.png(), model="small", methods="saliency", **wrong)
    assert caught.value.violations[0].field == allowed.partition(":")[0]
    assert "Explain" not in service.requests


def test_a_call_that_found_no_server_is_repeated_with_the_same_request_id(
    client: Client, service: FakeService
) -> None:
    service.refusals["Explain"] = [status(Reason.SERVER_STOPPING, "stopping")] * 2
    explanation = client.explain(canned.png(), model="small", methods="saliency")
    assert explanation.name == canned.NAME
    sent = [getattr(request, "request_id", "") for request in service.requests["Explain"]]
    assert len(sent) == 3
    assert len(set(sent)) == 1


def test_a_refused_call_is_not_repeated(client: Client, service: FakeService) -> None:
    service.refusals["Explain"] = [status(Reason.METHOD_UNSUPPORTED, "wrong on this model")] * 2
    with pytest.raises(errors.MethodUnsupportedError):
        client.explain(canned.png(), model="small", methods="saliency")
    assert len(service.requests["Explain"]) == 1


def test_no_server_is_unavailable() -> None:
    with (
        Client(f"127.0.0.1:{free_port()}", timeout_s=10) as client,
        pytest.raises(errors.UnavailableError),
    ):
        client.models()


def test_a_server_that_does_not_answer_in_time_is_told(service: FakeService) -> None:
    service.held.clear()
    with Client(service.address, timeout_s=10) as client:
        explanation = client.explain(canned.png(), model="small", methods=METHODS)
        begin_s = time.monotonic()
        with pytest.raises(errors.DeadlineExceededError, match=r"not done within 0\.3 s"):
            explanation.result(0.3)
        assert time.monotonic() - begin_s < 5


def test_a_call_that_waits_may_take_as_long_as_any_beside_its_wait(service: FakeService) -> None:
    with Client(service.address, timeout_s=20) as client:
        client.explain(canned.png(), model="small", methods="saliency", wait_s=40)
    assert service.times_left_s["Explain"][0] > 50


def test_what_runs_is_waited_for(client: Client, service: FakeService) -> None:
    service.state = explanation_pb2.STATE_RUNNING
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    assert explanation.state == State.RUNNING
    assert explanation.result(20).state == State.SUCCEEDED


def test_partial_gives_what_there_is_when_time_is_over(
    client: Client, service: FakeService
) -> None:
    service.held.clear()
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    result = explanation.result(0, partial=True)
    assert result.state == State.PENDING
    assert list(result) == []
    assert list(result.methods) == ["saliency", "lime"]


def test_the_time_limit_of_a_result_holds_for_all_its_calls(service: FakeService) -> None:
    service.fits = False
    with Client(service.address, timeout_s=600) as client:
        client.explain(canned.png(), model="small", methods=METHODS).result(20)
    waited = ("GetModel", "WatchExplanation", "GetExplanation", "StreamAttributions")
    assert all(service.times_left_s[rpc][0] < 25 for rpc in waited)


def test_the_time_limit_of_a_whole_result_holds_for_the_card(service: FakeService) -> None:
    with Client(service.address, timeout_s=600) as client:
        client.explain(canned.png(), model="small", methods=METHODS, wait_s=5).result(20)
    assert service.times_left_s["GetModel"][0] < 25


def test_the_time_limit_of_a_watch_holds_for_all_its_calls(service: FakeService) -> None:
    with Client(service.address, timeout_s=600) as client:
        list(client.explain(canned.png(), model="small", methods=METHODS).watch(timeout_s=20))
    assert all(service.times_left_s[rpc][0] < 25 for rpc in ("GetModel", "WatchExplanation"))


def test_partial_takes_no_longer_than_one_call_more(service: FakeService) -> None:
    service.held.clear()
    # As often as gRPC tries one call, and once again.
    stopping = status(Reason.SERVER_STOPPING, "stopping", retry_after_s=1)
    service.refusals["GetExplanation"] = [stopping] * 5
    with Client(service.address, timeout_s=60) as client:
        explanation = client.explain(canned.png(), model="small", methods=METHODS)
        result = explanation.result(0, partial=True)
    assert result.state == State.PENDING
    first_s, *_, last_s = service.times_left_s["GetExplanation"]
    assert len(service.requests["GetExplanation"]) == 6
    assert last_s < first_s - 0.5


def test_waiting_for_a_quick_explanation_takes_one_call(
    client: Client, service: FakeService
) -> None:
    explanation = client.explain(canned.png(), model="small", methods="saliency", wait_s=5)
    assert explanation.state == State.SUCCEEDED
    assert np.array_equal(explanation.result()["saliency"].values, canned.gradient())
    assert "WatchExplanation" not in service.requests
    assert "GetExplanation" not in service.requests


def test_a_watch_yields_typed_events_in_order(client: Client) -> None:
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    events = list(explanation.watch())
    assert sequences(events) == SEQUENCES
    assert [type(event) for event in events] == [
        StateChanged,
        PredictionsReady,
        *[MethodStateChanged] * 2,
        MethodStateChanged,
        *[MethodProgressed] * 3,
        MethodStateChanged,
        StateChanged,
    ]
    assert explanation.state == State.SUCCEEDED


def test_partial_maps_can_be_drawn_though_segments_come_once(client: Client) -> None:
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    partials = [
        event.partials[0] for event in explanation.watch() if isinstance(event, MethodProgressed)
    ]
    for step, partial in enumerate(partials, 1):
        assert np.array_equal(partial.values, canned.WEIGHTS[canned.SEGMENTS] * step)
        assert partial.overlay().size == (8, 8)
        assert partial.standard_error_map.max() == np.float32(0.02 / step)
        assert partial.error_bars().height > 360
    assert len(partials) == 3


def test_results_come_with_their_maps_only_when_a_watch_asks_for_them(client: Client) -> None:
    explanation = client.explain(canned.png(), model="small", methods="saliency")
    for values in (False, True):
        (result,) = [
            event.result
            for event in explanation.watch(values=values)
            if isinstance(event, MethodStateChanged) and event.result
        ]
        (attribution,) = result.attributions
        if values:
            assert attribution.values.shape == (3, 8, 8)
        else:
            with pytest.raises(errors.ExpoundError, match="result"):
                _ = attribution.values


@pytest.mark.parametrize("after", [0, 1, 3, 6, 11])
def test_a_watch_begins_behind_the_sequence_it_is_given(client: Client, after: int) -> None:
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    events = list(client.watch(explanation.name, after))
    assert sequences(events) == [number for number in SEQUENCES if number > after]


@pytest.mark.parametrize("breaks", [[0], [4], [1, 1, 1], [7, 0, 0, 2]])
def test_a_watch_that_breaks_goes_on_with_no_gap_and_no_repeat(
    client: Client, service: FakeService, breaks: list[int]
) -> None:
    service.breaks_after = list(breaks)
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    events = list(explanation.watch())
    assert sequences(events) == SEQUENCES
    seen = list(itertools.accumulate([0, *breaks]))
    asked = [
        request.after_sequence
        for request in service.requests["WatchExplanation"]
        if isinstance(request, explanation_service_pb2.WatchExplanationRequest)
    ]
    assert asked == seen


@pytest.mark.parametrize("wait_s", [None, 5.0])
@pytest.mark.parametrize("breaks", [[], [0], [1], [0, 1, 0]])
def test_maps_that_no_message_holds_are_there_all_the_same(
    client: Client, service: FakeService, breaks: list[int], wait_s: float | None
) -> None:
    service.fits = False
    service.maps_break_after = list(breaks)
    explanation = client.explain(canned.png(), model="small", methods=METHODS, wait_s=wait_s)
    result = explanation.result(20)
    assert np.array_equal(result["saliency"].values, canned.gradient())
    lime = result["lime"]
    assert lime.segments is not None and np.array_equal(lime.segments, canned.SEGMENTS)
    assert len(result.attributions("saliency")) == len(result.attributions("lime")) == 1
    streams = [
        (request.key, request.skip)
        for request in service.requests["StreamAttributions"]
        if isinstance(request, explanation_service_pb2.StreamAttributionsRequest)
    ]
    # The stream of one map may break before it and behind it.
    skips = [0, *itertools.accumulate(breaks)]
    assert streams == [*(("saliency", skip) for skip in skips), ("lime", 0)]
    explanation.result(20)
    assert len(service.requests["StreamAttributions"]) == len(streams)


def test_only_maps_that_are_missing_are_streamed(client: Client, service: FakeService) -> None:
    service.fits = False
    service.fails = True
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    result = explanation.result(20, partial=True)
    assert np.array_equal(result["saliency"].values, canned.gradient())
    assert list(result.errors) == ["lime"]
    assert len(service.requests["StreamAttributions"]) == 1


def test_maps_are_given_up_when_no_server_comes_back(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_OUTAGE_LIMIT_S", 0.2)
    service.fits = False
    service.refusals["StreamAttributions"] = [status(Reason.SERVER_STOPPING, "stopping")] * 50
    explanation = client.explain(canned.png(), model="small", methods="saliency")
    with pytest.raises(errors.UnavailableError):
        explanation.result(20)


def test_an_answer_with_pictures_is_whole(client: Client, service: FakeService) -> None:
    explanation = client.explain(
        canned.png(), model="small", methods="saliency", wait_s=5, encoding="png"
    )
    assert explanation.result(20)["saliency"].values.shape == (8, 8)
    assert "GetExplanation" not in service.requests


def test_a_stream_that_lasted_its_time_is_taken_up_again(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_STREAM_TIMEOUT_S", 0.3)
    service.held.clear()
    threading.Timer(0.8, service.held.set).start()
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    assert sequences(list(explanation.watch())) == SEQUENCES
    assert len(service.requests["WatchExplanation"]) > 1


def test_a_watch_gives_up_when_no_server_comes_back(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_OUTAGE_LIMIT_S", 0.2)
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    service.refusals["WatchExplanation"] = [status(Reason.SERVER_STOPPING, "stopping")] * 50
    with pytest.raises(errors.UnavailableError):
        list(explanation.watch())


def test_a_watch_that_goes_on_may_break_for_ever(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_OUTAGE_LIMIT_S", 0)
    service.breaks_after = [1, 1, 2]
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    assert sequences(list(explanation.watch())) == SEQUENCES


def test_a_watch_that_breaks_after_a_long_silence_goes_on(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_OUTAGE_LIMIT_S", 0.2)
    service.held.clear()
    service.breaks_after = [10]
    threading.Timer(0.8, service.held.set).start()
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    assert sequences(list(explanation.watch())) == SEQUENCES
    assert len(service.requests["WatchExplanation"]) == 2


def test_a_watch_of_an_unknown_explanation_is_refused(client: Client) -> None:
    with pytest.raises(errors.ExplanationNotFoundError):
        list(client.watch("explanations/none"))


def test_a_watch_that_is_dropped_is_cancelled(client: Client, service: FakeService) -> None:
    service.held.clear()
    events = client.explain(canned.png(), model="small", methods=METHODS).watch()
    next(events)
    assert not service.watch_ended.is_set()
    del events
    assert service.watch_ended.wait(10)


def test_a_failed_method_is_raised_with_the_results_of_the_others(
    client: Client, service: FakeService
) -> None:
    service.fails = True
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    with pytest.raises(errors.ExplanationFailedError, match="lime: only 1 segment") as caught:
        explanation.result(20)
    assert list(caught.value.result) == ["saliency"]
    assert caught.value.reason == Reason.TOO_FEW_SEGMENTS
    assert isinstance(caught.value.__cause__, errors.InvalidArgumentError)
    assert isinstance(caught.value.result.errors["lime"], errors.InvalidArgumentError)


def test_a_cancelled_explanation_is_raised_as_such(client: Client, service: FakeService) -> None:
    service.held.clear()
    explanation = client.explain(canned.png(), model="small", methods=METHODS)
    explanation.cancel()
    assert explanation.state == State.CANCELLED
    with pytest.raises(errors.ExplanationCancelledError, match="was cancelled"):
        explanation.result(20)
    with pytest.raises(errors.ExplanationEndedError):
        explanation.cancel()


def test_any_client_gets_an_explanation_by_its_name(client: Client, service: FakeService) -> None:
    client.explain(canned.png(), model="small", methods=METHODS).result(20)
    service.requests.clear()
    again = client.get(canned.NAME.removeprefix("explanations/"))
    (sent,) = service.requests["GetExplanation"]
    assert getattr(sent, "view", None) == explanation_pb2.EXPLANATION_VIEW_BASIC
    assert again.methods == {"saliency": "saliency", "lime": "lime"}
    attribution = again.result(20)["lime"]
    with pytest.raises(errors.ExpoundError, match="overlay"):
        attribution.overlay()
    assert attribution.overlay(canned.png()).size == attribution.picture().size == (8, 8)


def test_a_list_has_all_pages(client: Client, service: FakeService) -> None:
    names = [explanation.name for explanation in client.list()]
    assert names == [f"explanations/{number:032x}" for number in range(3)]
    assert len(service.requests["ListExplanations"]) == 3


def test_an_explanation_can_be_deleted(client: Client, service: FakeService) -> None:
    client.explain(canned.png(), model="small", methods="saliency").delete()
    (sent,) = service.requests["DeleteExplanation"]
    assert getattr(sent, "name", "") == canned.NAME


def test_a_model_tells_all_of_its_card(client: Client) -> None:
    (listed,) = client.models()
    model = client.model("small")
    assert model == listed
    assert (model.name, model.input_shape, model.labels[2]) == ("small", (3, 8, 8), "lynx")
    assert model.layers[0].output_shape == (4, 4, 4)
    assert model.capabilities["grad_cam"].support == "UNSUPPORTED"
    assert model.capabilities["grad_cam"].error is None
    assert model.capabilities["deep_lift"].error == 0.0123
    assert model.preprocessing is not None and model.preprocessing.resize == 8
    with pytest.raises(errors.ModelNotFoundError):
        client.model("large")


def test_a_card_is_asked_for_once(client: Client, service: FakeService) -> None:
    for _ in range(2):
        client.explain(canned.png(), model="small", methods="saliency").result(20)
    assert len(service.requests["GetModel"]) == 1


def test_the_card_of_another_version_is_asked_for_again(
    client: Client, service: FakeService
) -> None:
    for version in ("1", "2", "2"):
        service.card.version = version
        client.explain(canned.png(), model="small", methods="saliency").result(20)
    assert len(service.requests["GetModel"]) == 2


def test_maps_come_though_the_card_cannot_be_had(client: Client, service: FakeService) -> None:
    refused = status(Reason.MODEL_NOT_FOUND, "its last worker has gone")
    service.refusals["GetModel"] = [refused] * 2
    explanation = client.explain(canned.png(), model="small", methods="saliency")
    assert explanation.result(20)["saliency"].values.shape == (3, 8, 8)
    client.explain(canned.png(), model="small", methods="saliency").result(20)
    service.refusals["GetModel"] = [refused]
    service.card.version = "2"
    older = client.explain(canned.png(), model="small", methods="saliency").result(20)
    assert older["saliency"].overlay().size == (8, 8)


def test_a_client_can_be_shared_between_threads(client: Client) -> None:
    keys: list[list[str]] = []

    def explain() -> None:
        result = client.explain(canned.png(), model="small", methods=METHODS).result(20)
        keys.append(list(result))

    threads = [threading.Thread(target=explain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert keys == [["saliency", "lime"]] * 4
