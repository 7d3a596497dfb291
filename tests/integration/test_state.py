"""Tickets, cancels, deadlines and refusals, with a real worker behind the server."""

import grpc
import numpy as np
import pytest
import redis
from celery import Celery

from expound import records, tasks
from expound.reasons import Reason
from expound.v1.explanation_pb2 import EXPLANATION_VIEW_BASIC, EXPLANATION_VIEW_FULL
from expound.v1.explanation_service_pb2 import GetExplanationRequest
from expound.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from expound.v1.tensor_pb2 import Tensor
from expound_client import Client, MethodProgressed, MethodStateChanged, State, StateChanged
from expound_client import methods as m
from expound_client.errors import (
    ExplanationCancelledError,
    ExplanationFailedError,
    MethodUnsupportedError,
)
from tests import photos
from tests.service import Service

ENDLESS = m.Lime(n_samples=100_000)


def test_a_method_is_told_to_run_before_it_does_unless_it_is_part_of_the_prediction(
    client: Client,
) -> None:
    noisy = m.Saliency(noise_tunnel=m.NoiseTunnel(n_samples=16))
    methods = [m.Saliency(), noisy]
    explanation = client.explain(photos.chelsea(), model="efficientnet_lite0", methods=methods)
    result = explanation.result(60)
    times = {
        (event.key, event.state): event.time
        for event in explanation.watch()
        if isinstance(event, MethodStateChanged)
    }
    plain_s, noisy_s = (
        (times[key, State.SUCCEEDED] - times[key, State.RUNNING]).total_seconds() for key in result
    )
    assert plain_s == 0 and noisy_s > 0
    durations_s = [method.duration_s or 0.0 for method in result.methods.values()]
    assert 0 < durations_s[0] < durations_s[1]


def test_a_ticket_that_is_delivered_five_times_runs_once(service: Service, client: Client) -> None:
    explanation = client.explain(photos.chelsea(), model="cifar", methods=["saliency", "lime"])
    name = explanation.name.removeprefix("explanations/")
    broker = Celery(broker=service.redis.url, set_as_current=False)
    broker.conf.update(tasks.CELERY_SETTINGS)
    for _ in range(4):
        broker.send_task(tasks.EXPLAIN, (name,), queue=tasks.GRADIENT)
        broker.send_task(tasks.PERTURB, (name, 1), queue=tasks.PERTURBATION)
    broker.close()
    events = list(explanation.watch())
    after = client.explain(photos.chelsea(), model="cifar", methods=["saliency"])
    after.result(60)  # all tickets sent before it have been taken by now
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    for key in ("saliency", "lime"):
        states = [
            (event.state, event.attempt)
            for event in events
            if isinstance(event, MethodStateChanged) and event.key == key
        ]
        assert states == [(State.RUNNING, 1), (State.SUCCEEDED, 1)]
    with redis.Redis.from_url(service.redis.url) as client_of_redis:
        attempts = client_of_redis.hmget(
            records.record_key(name), ["explain:attempt", "0:attempt", "1:attempt"]
        )
    assert attempts == [b"1", b"1", b"1"]


def test_a_basic_view_says_all_but_tensors(service: Service, client: Client) -> None:
    explanation = client.explain(photos.chelsea(), model="cifar", methods=["saliency", "lime"])
    explanation.result(60)
    with grpc.insecure_channel(service.address) as channel:
        stub = ExplanationServiceStub(channel)
        basic, full = (
            stub.GetExplanation(GetExplanationRequest(name=explanation.name, view=view))
            for view in (EXPLANATION_VIEW_BASIC, EXPLANATION_VIEW_FULL)
        )
    for result in full.results:
        for attribution in result.attributions:
            tensors = [
                field.name
                for field, _ in attribution.ListFields()
                if field.message_type is Tensor.DESCRIPTOR
            ]
            assert "values" in tensors
            for tensor in tensors:
                attribution.ClearField(tensor)  # type: ignore[arg-type]  # a list of literals
    assert basic == full


def test_cancel_stops_a_running_lime(client: Client) -> None:
    explanation = client.explain(
        photos.chelsea(), model="efficientnet_lite0", methods=["saliency", ENDLESS]
    )
    watch = explanation.watch()
    for event in watch:
        if isinstance(event, MethodProgressed) and event.partials:
            break
    explanation.cancel()
    ends = [event for event in watch if isinstance(event, StateChanged)]
    assert [event.state for event in ends] == [State.CANCELLED]
    with pytest.raises(ExplanationCancelledError) as raised:
        explanation.result(10)
    assert raised.value.result is not None
    assert "saliency" in raised.value.result
    # The device is free again: the endless job would hold it for an hour.
    client.explain(photos.chelsea(), model="cifar", methods=["saliency"]).result(10)


def test_a_timeout_fails_what_is_not_done_and_keeps_what_is(client: Client) -> None:
    explanation = client.explain(
        photos.chelsea(), model="cifar", methods=["saliency", ENDLESS], timeout_s=3
    )
    with pytest.raises(ExplanationFailedError) as raised:
        explanation.result(60)
    assert raised.value.reason is Reason.DEADLINE_EXCEEDED
    result = raised.value.result
    assert result is not None
    assert result.methods["saliency"].state is State.SUCCEEDED
    assert result.methods["lime"].state is State.FAILED
    assert result["saliency"].values.shape == (3, 32, 32)


def test_partial_maps_of_lime_and_kernel_shap_come_while_they_run(client: Client) -> None:
    explanation = client.explain(
        photos.chelsea(),
        model="efficientnet_lite0",
        methods=[m.Lime(n_samples=150), m.KernelShap(n_samples=150)],
    )
    partials = {"lime": [], "kernel_shap": []}  # type: dict[str, list[float]]
    for event in explanation.watch():
        if isinstance(event, MethodProgressed):
            for partial in event.partials:
                assert partial.weights is not None and partial.segments is not None
                assert partial.values.shape == (224, 224)
                partials[event.key].append(float(np.abs(partial.weights).max()))
    assert len(partials["lime"]) >= 2
    assert len(partials["kernel_shap"]) >= 2


def test_grad_cam_is_refused_on_a_model_without_maps(client: Client) -> None:
    with pytest.raises(MethodUnsupportedError) as raised:
        client.explain(photos.chelsea(), model="perceptron", methods=["grad_cam"])
    assert "spatial" in raised.value.message


def test_too_few_segments_fail_the_method_with_advice(client: Client) -> None:
    method = m.Lime(n_samples=50, segmentation=m.QuickshiftSegmentation())
    plain = np.full((32, 32, 3), 128, np.uint8)
    explanation = client.explain(plain, model="cifar", methods=["saliency", method])
    with pytest.raises(ExplanationFailedError) as raised:
        explanation.result(60)
    assert raised.value.reason is Reason.TOO_FEW_SEGMENTS
    paths = [violation.field for violation in raised.value.violations]
    assert paths == ["methods[1].lime.segmentation.quickshift"]
    assert raised.value.result is not None
    assert "saliency" in raised.value.result


def test_several_images_and_targets_are_explained_in_one_request(client: Client) -> None:
    images = [photos.chelsea(), photos.chelsea()[:, ::-1].copy()]
    method = m.Lime(n_samples=50)
    explanation = client.explain(
        images, model="cifar", target="top3", methods=["saliency", "grad_cam", method]
    )
    result = explanation.result(60)
    for key in ("saliency", "grad_cam", "lime"):
        found = [(a.input_index, a.target.index) for a in result.attributions(key)]
        expected = [
            (index, score.index)
            for index, prediction in enumerate(result.predictions)
            for score in prediction.classes[:3]
        ]
        assert found == expected
    alone = client.explain(images[1], model="cifar", methods=["saliency"]).result(60)
    together = result.attributions("saliency", input_index=1)[0]
    assert np.abs(alone["saliency"].values - together.values).max() < 1e-6


@pytest.mark.parametrize("step", [1, -1])
def test_the_progress_of_several_images_is_that_of_all_of_them(client: Client, step: int) -> None:
    images = [photos.chelsea(), photos.chelsea()[:100, :100]][::step]
    methods = [m.Lime(n_samples=100), m.FeatureAblation()]
    result = client.explain(images, model="cifar", methods=methods).result(60)
    for key in ("lime", "feature_ablation"):
        progress, attributions = result.methods[key].progress, result.attributions(key)
        evaluations = sum(attribution.evaluations for attribution in attributions)
        assert progress.evaluations_done == progress.evaluations_total == evaluations
    errors = [attribution.standard_error or 0.0 for attribution in result.attributions("lime")]
    assert result.methods["lime"].progress.standard_error == pytest.approx(max(errors))


def test_the_same_seed_gives_the_same_map(client: Client) -> None:
    def weights(seed: int) -> list[float]:
        method = m.KernelShap(n_samples=100)
        result = client.explain(photos.chelsea(), model="cifar", seed=seed, methods=[method])
        found = result.result(60)["kernel_shap"].weights
        assert found is not None
        return [float(weight) for weight in found]

    assert weights(1) == weights(1) != weights(2)
