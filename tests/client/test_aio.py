"""The asyncio client against a fake service, over a real channel."""

import asyncio
from typing import Any

import numpy as np
import pytest

from expound.reasons import Reason, status
from expound.v1 import explanation_pb2, tensor_pb2
from expound_client import AsyncClient, Client, MethodLike, State, errors
from expound_client import methods as m
from tests.client import canned
from tests.client.fake_service import FakeService
from tests.client.test_client import SEQUENCES

METHODS: list[MethodLike] = ["saliency", m.Lime(n_samples=100)]


async def test_an_explanation_gives_maps(async_client: AsyncClient) -> None:
    explanation = await async_client.explain(canned.png(), model="small", methods=METHODS)
    result = await explanation.result(20)
    assert result.state == State.SUCCEEDED
    assert np.array_equal(result["saliency"].values, canned.gradient())
    assert result["lime"].overlay().size == (8, 8)


@pytest.mark.parametrize("breaks", [[], [4], [7, 0, 0, 2]])
async def test_a_watch_that_breaks_goes_on_with_no_gap_and_no_repeat(
    async_client: AsyncClient, service: FakeService, breaks: list[int]
) -> None:
    service.breaks_after = breaks
    explanation = await async_client.explain(canned.png(), model="small", methods=METHODS)
    assert [event.sequence async for event in explanation.watch()] == SEQUENCES
    after = [event.sequence async for event in async_client.watch(explanation.name, 6)]
    assert after == [number for number in SEQUENCES if number > 6]


@pytest.mark.parametrize("breaks", [[], [0], [1], [0, 1, 0]])
async def test_maps_that_no_message_holds_are_there_all_the_same(
    async_client: AsyncClient, service: FakeService, breaks: list[int]
) -> None:
    service.fits = False
    service.maps_break_after = list(breaks)
    explanation = await async_client.explain(canned.png(), model="small", methods=METHODS)
    result = await explanation.result(20)
    assert np.array_equal(result["saliency"].values, canned.gradient())
    assert len(result.attributions("saliency")) == len(result.attributions("lime")) == 1
    assert len(service.requests["StreamAttributions"]) == 2 + len(breaks)


async def test_many_explanations_go_on_at_once(async_client: AsyncClient) -> None:
    async def explain() -> list[str]:
        explanation = await async_client.explain(canned.png(), model="small", methods=METHODS)
        return list(await explanation.result(20))

    assert await asyncio.gather(*(explain() for _ in range(6))) == [["saliency", "lime"]] * 6


async def test_a_watch_that_is_left_is_cancelled(
    async_client: AsyncClient, service: FakeService
) -> None:
    service.held.clear()
    explanation = await async_client.explain(canned.png(), model="small", methods=METHODS)
    events = explanation.watch()
    await anext(events)
    assert not service.watch_ended.is_set()
    await events.aclose()
    assert await asyncio.to_thread(service.watch_ended.wait, 10)


async def test_a_task_that_is_cancelled_cancels_its_watch(
    async_client: AsyncClient, service: FakeService
) -> None:
    service.held.clear()
    explanation = await async_client.explain(canned.png(), model="small", methods=METHODS)
    waiting = asyncio.create_task(explanation.result())
    assert await asyncio.to_thread(service.watching.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(service.watch_ended.wait, 10)


async def test_closing_the_client_ends_what_it_watches(service: FakeService) -> None:
    service.held.clear()
    async with AsyncClient(service.address) as client:
        explanation = await client.explain(canned.png(), model="small", methods=METHODS)
        waiting = asyncio.create_task(explanation.result())
        assert await asyncio.to_thread(service.watching.wait, 10)
    with pytest.raises((errors.ExpoundError, asyncio.CancelledError)):
        await waiting
    assert await asyncio.to_thread(service.watch_ended.wait, 10)


async def test_time_limits_failures_and_cancels_are_told(
    async_client: AsyncClient, service: FakeService
) -> None:
    service.held.clear()
    explanation = await async_client.explain(canned.png(), model="small", methods=METHODS)
    with pytest.raises(errors.DeadlineExceededError):
        await explanation.result(0.2)
    assert (await explanation.result(0, partial=True)).state == State.PENDING
    await explanation.cancel()
    with pytest.raises(errors.ExplanationCancelledError):
        await explanation.result(20)
    await explanation.delete()


async def test_the_time_limit_of_a_result_holds_for_all_its_calls(service: FakeService) -> None:
    service.fits = False
    async with AsyncClient(service.address, timeout_s=600) as client:
        explanation = await client.explain(canned.png(), model="small", methods=METHODS)
        await explanation.result(20)
    waited = ("GetModel", "WatchExplanation", "GetExplanation", "StreamAttributions")
    assert all(service.times_left_s[rpc][0] < 25 for rpc in waited)


async def test_partial_takes_no_longer_than_one_call_more(service: FakeService) -> None:
    service.held.clear()
    # As often as gRPC tries one call, and once again.
    stopping = status(Reason.SERVER_STOPPING, "stopping", retry_after_s=1)
    service.refusals["GetExplanation"] = [stopping] * 5
    async with AsyncClient(service.address, timeout_s=60) as client:
        explanation = await client.explain(canned.png(), model="small", methods=METHODS)
        result = await explanation.result(0, partial=True)
    assert result.state == State.PENDING
    first_s, *_, last_s = service.times_left_s["GetExplanation"]
    assert len(service.requests["GetExplanation"]) == 6
    assert last_s < first_s - 0.5


async def test_both_clients_send_the_same_request(
    async_client: AsyncClient, client: Client, service: FakeService
) -> None:
    asked: dict[str, Any] = {
        "model": "small",
        "methods": METHODS,
        "target": "lynx",
        "seed": 7,
        "wait_s": 0.5,
        "timeout_s": 1.5,
        "ttl_s": 60,
        "request_id": "mine",
        "fresh": True,
        "deterministic": True,
        "values_dtype": "float16",
        "channels": "sum",
        "encoding": "png",
    }
    client.explain(canned.png(), **asked)
    await async_client.explain(canned.png(), **asked)
    first, second = service.requests["Explain"]
    assert isinstance(first, explanation_pb2.ExplainRequest)
    assert first == second
    assert first.fresh and first.deterministic
    assert (first.seed, first.request_id, first.target.label) == (7, "mine", "lynx")
    given = (first.wait, first.timeout, first.ttl)
    assert [each.ToMilliseconds() for each in given] == [500, 1500, 60_000]
    assert first.output.values_dtype == tensor_pb2.DATA_TYPE_FLOAT16
    assert first.output.channels == explanation_pb2.OutputOptions.CHANNELS_SUM
    assert first.output.encoding == explanation_pb2.OutputOptions.ENCODING_PNG


async def test_a_call_that_waits_may_take_as_long_as_any_beside_its_wait(
    service: FakeService,
) -> None:
    async with AsyncClient(service.address, timeout_s=20) as client:
        await client.explain(canned.png(), model="small", methods="saliency", wait_s=40)
    assert service.times_left_s["Explain"][0] > 50


async def test_the_card_of_another_version_is_asked_for_again(
    async_client: AsyncClient, service: FakeService
) -> None:
    for version in ("1", "2", "2"):
        service.card.version = version
        explanation = await async_client.explain(canned.png(), model="small", methods="saliency")
        await explanation.result(20)
    assert len(service.requests["GetModel"]) == 2


async def test_maps_come_though_the_card_cannot_be_had(
    async_client: AsyncClient, service: FakeService
) -> None:
    service.refusals["GetModel"] = [status(Reason.MODEL_NOT_FOUND, "its last worker has gone")] * 2
    explanation = await async_client.explain(canned.png(), model="small", methods="saliency")
    assert (await explanation.result(20))["saliency"].values.shape == (3, 8, 8)


async def test_a_failed_method_is_raised_with_the_results_of_the_others(
    async_client: AsyncClient, service: FakeService
) -> None:
    service.fails = True
    explanation = await async_client.explain(canned.png(), model="small", methods=METHODS)
    with pytest.raises(errors.ExplanationFailedError) as caught:
        await explanation.result(20)
    assert list(caught.value.result) == ["saliency"]


async def test_refusals_are_typed_and_unavailable_is_tried_again(
    async_client: AsyncClient, service: FakeService
) -> None:
    service.refusals["GetModel"] = [status(Reason.SERVER_STOPPING, "stopping")]
    assert (await async_client.model("small")).name == "small"
    with pytest.raises(errors.ModelNotFoundError):
        await async_client.model("large")
    with pytest.raises(errors.ExplanationNotFoundError):
        await async_client.get("none")


async def test_lists_have_all_pages(async_client: AsyncClient) -> None:
    assert len([explanation async for explanation in async_client.list()]) == 3
    assert [model.name for model in await async_client.models()] == ["small"]
