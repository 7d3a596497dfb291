"""Get, List, Cancel and Delete of explanations; models."""

import asyncio

import grpc
import pytest

from expound import records, tasks
from expound.reasons import Reason, reason_of
from expound.v1 import explanation_pb2
from expound.v1.explanation_service_pb2 import (
    CancelExplanationRequest,
    DeleteExplanationRequest,
    GetExplanationRequest,
    ListExplanationsRequest,
    WatchExplanationRequest,
)
from expound.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
from expound_server.settings import Settings
from tests.server.calls import explain_request, refusal
from tests.server.conftest import Server
from tests.server.hand_worker import HandWorker, model

ABSENT = "explanations/" + "0" * 32


async def _ask(server: Server, rpc: str, name: str) -> object:
    stub = server.explanations
    match rpc:
        case "get":
            return await stub.GetExplanation(GetExplanationRequest(name=name))
        case "cancel":
            return await stub.CancelExplanation(CancelExplanationRequest(name=name))
        case "delete":
            return await stub.DeleteExplanation(DeleteExplanationRequest(name=name))
        case _:
            watch = stub.WatchExplanation(WatchExplanationRequest(name=name))
            return [event async for event in watch]


RPCS = ["get", "cancel", "delete", "watch"]


@pytest.mark.parametrize("rpc", RPCS)
async def test_an_unknown_name_is_not_found(server: Server, rpc: str) -> None:
    refused = await refusal(_ask(server, rpc, ABSENT))
    assert refused.code == grpc.StatusCode.NOT_FOUND
    assert refused.reason == Reason.EXPLANATION_NOT_FOUND
    assert refused.metadata == {"name": ABSENT}


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("name", ["", "explanations/xyz", "x" + ABSENT, ABSENT + "0", "0" * 32])
async def test_a_malformed_name_is_refused(server: Server, rpc: str, name: str) -> None:
    refused = await refusal(_ask(server, rpc, name))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert list(refused.fields) == ["name"]


@pytest.mark.parametrize("rpc", RPCS)
async def test_a_deleted_explanation_is_not_found(server: Server, rpc: str) -> None:
    name = (await server.explanations.Explain(explain_request())).name
    await _ask(server, "delete", name)
    assert (await refusal(_ask(server, rpc, name))).code == grpc.StatusCode.NOT_FOUND


async def test_a_cancel_ends_all_methods_once(server: Server) -> None:
    name = (await server.explanations.Explain(explain_request("saliency", "lime"))).name
    cancel = CancelExplanationRequest(name=name)
    answer = await server.explanations.CancelExplanation(cancel)
    assert answer.state == explanation_pb2.STATE_CANCELLED
    assert [result.state for result in answer.results] == [explanation_pb2.STATE_CANCELLED] * 2
    assert reason_of(answer.error) == Reason.CANCELLED
    refused = await refusal(server.explanations.CancelExplanation(cancel))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION
    assert refused.reason == Reason.EXPLANATION_ENDED


async def test_a_method_that_has_ended_tells_how_far_it_came_and_of_no_time_left(
    server: Server, worker: HandWorker
) -> None:
    name = (await server.explanations.Explain(explain_request("lime", "lime"))).name
    explanation_id = name.removeprefix("explanations/")
    worker.claim(explanation_id)
    attempts = [worker.claim(explanation_id, index) or 0 for index in range(2)]
    for index, attempt in enumerate(attempts):
        worker.progress(explanation_id, index, attempt, 10)
    get = GetExplanationRequest(name=name)
    running = (await server.explanations.GetExplanation(get)).results
    assert [result.progress.HasField("time_left") for result in running] == [True, True]
    worker.succeed(explanation_id, 0, attempts[0], done=20)
    await _ask(server, "cancel", name)
    for view in (explanation_pb2.EXPLANATION_VIEW_BASIC, explanation_pb2.EXPLANATION_VIEW_FULL):
        get.view = view
        ended = (await server.explanations.GetExplanation(get)).results
        assert [result.progress.evaluations_done for result in ended] == [20, 10]
        assert [result.progress.HasField("time_left") for result in ended] == [False, False]


async def test_a_timeout_fails_the_explanation_and_keeps_what_was_done(
    server: Server, worker: HandWorker
) -> None:
    request = explain_request("saliency", "lime", wait_s=30)
    request.timeout.FromMilliseconds(400)
    call = asyncio.ensure_future(server.explanations.Explain(request))
    explanation_id = (await asyncio.to_thread(worker.next_ticket))["arguments"][0]
    worker.claim(explanation_id)
    attempt = worker.claim(explanation_id, 0)
    assert attempt is not None
    worker.succeed(explanation_id, 0, attempt)
    answer = await call
    assert answer.state == explanation_pb2.STATE_FAILED
    assert reason_of(answer.error) == Reason.DEADLINE_EXCEEDED
    assert answer.results[0].attributions
    assert reason_of(answer.results[1].error) == Reason.DEADLINE_EXCEEDED


async def test_a_list_is_paged_newest_first_without_repeats(
    server: Server, worker: HandWorker
) -> None:
    names = [(await server.explanations.Explain(explain_request())).name for _ in range(7)]
    await _ask(server, "delete", names.pop(3))
    worker.redis.delete(records.record_key(names.pop(1).removeprefix("explanations/")))
    listed, token, pages = [], "", 0
    while pages == 0 or token:
        request = ListExplanationsRequest(page_size=2, page_token=token)
        page = await server.explanations.ListExplanations(request)
        listed += [explanation.name for explanation in page.explanations]
        token, pages = page.next_page_token, pages + 1
    assert listed == names[::-1]
    assert pages == 3
    assert worker.redis.zcard(records.index_key("default")) == 5


async def test_no_page_is_longer_than_a_hundred(server: Server, worker: HandWorker) -> None:
    ids = [f"{number:032x}" for number in range(101)]
    for explanation_id in ids:
        worker.create(explanation_id, inputs=())
    request = ListExplanationsRequest(page_size=1000)
    first = await server.explanations.ListExplanations(request)
    request.page_token = first.next_page_token
    second = await server.explanations.ListExplanations(request)
    assert (len(first.explanations), len(second.explanations)) == (100, 1)
    listed = [explanation.name for explanation in (*first.explanations, *second.explanations)]
    assert listed == [f"explanations/{explanation_id}" for explanation_id in reversed(ids)]


async def test_an_explanation_tells_of_its_times(server: Server, worker: HandWorker) -> None:
    request = explain_request()
    request.ttl.FromSeconds(60)
    name = (await server.explanations.Explain(request)).name
    worker.work_off(name.removeprefix("explanations/"))
    told = await server.explanations.GetExplanation(GetExplanationRequest(name=name))
    created_us = told.create_time.ToMicroseconds()
    assert told.expire_time.ToMicroseconds() == created_us + 60_000_000
    [result] = told.results
    times = (told.create_time, result.start_time, result.end_time, told.end_time)
    times_us = [time.ToMicroseconds() for time in times]
    assert times_us == sorted(times_us) and times_us[0] < times_us[-1]


async def test_a_list_leaves_the_tensors_out(server: Server, worker: HandWorker) -> None:
    name = (await server.explanations.Explain(explain_request())).name
    worker.work_off(name.removeprefix("explanations/"))
    page = await server.explanations.ListExplanations(ListExplanationsRequest())
    [attribution] = page.explanations[0].results[0].attributions
    assert not attribution.HasField("values")
    assert attribution.output == 0.5


@pytest.mark.parametrize("view", ["BASIC", "FULL"])
async def test_only_a_view_with_tensors_reads_them(
    server: Server, worker: HandWorker, view: str
) -> None:
    name = (await server.explanations.Explain(explain_request())).name
    explanation_id = name.removeprefix("explanations/")
    worker.work_off(explanation_id)
    worker.redis.delete(records.result_key(explanation_id, 0))
    number = explanation_pb2.ExplanationView.Value(f"EXPLANATION_VIEW_{view}")
    get = server.explanations.GetExplanation(GetExplanationRequest(name=name, view=number))
    if view == "FULL":
        assert (await refusal(get)).code == grpc.StatusCode.NOT_FOUND
    else:
        assert (await get).results[0].attributions[0].output == 0.5
        page = await server.explanations.ListExplanations(ListExplanationsRequest())
        assert page.explanations == [
            await server.explanations.GetExplanation(GetExplanationRequest(name=name, view=number))
        ]


async def test_a_page_ends_where_a_message_is_full(
    server: Server, settings: Settings, worker: HandWorker
) -> None:
    large = explanation_pb2.MethodResult()
    large.attributions.add(layer="x" * (settings.max_message_bytes * 2 // 5))
    names = []
    for _ in range(5):
        names.append((await server.explanations.Explain(explain_request())).name)
        key = records.record_key(names[-1].removeprefix("explanations/"))
        worker.redis.hset(key, "0:summary", large.SerializeToString())
    listed, token = [], ""
    for count in (2, 2, 1):
        request = ListExplanationsRequest(page_token=token)
        page = await server.explanations.ListExplanations(request)
        assert len(page.explanations) == count
        listed += [explanation.name for explanation in page.explanations]
        token = page.next_page_token
    assert (listed, token) == (names[::-1], "")


async def test_what_is_more_than_a_page_is_listed_without_its_results(
    server: Server, settings: Settings, worker: HandWorker
) -> None:
    name = (await server.explanations.Explain(explain_request())).name
    large = explanation_pb2.MethodResult()
    large.attributions.add(layer="x" * settings.max_message_bytes)
    key = records.record_key(name.removeprefix("explanations/"))
    predictions = explanation_pb2.PredictionsReady()
    predictions.predictions.add().classes.add(label="x" * settings.max_message_bytes)
    for field, value in (("0:summary", large), ("predictions", predictions)):
        worker.redis.hset(key, field, value.SerializeToString())
    page = await server.explanations.ListExplanations(ListExplanationsRequest())
    [listed] = page.explanations
    assert (listed.name, listed.state) == (name, explanation_pb2.STATE_PENDING)
    assert not listed.results and not listed.predictions


async def test_a_full_last_page_has_no_token(server: Server) -> None:
    for _ in range(2):
        await server.explanations.Explain(explain_request())
    page = await server.explanations.ListExplanations(ListExplanationsRequest(page_size=2))
    assert len(page.explanations) == 2
    assert page.next_page_token == ""


@pytest.mark.parametrize("token", ["nonsense", "bW9kZWxzOmE=", "ZXhwbGFuYXRpb25zOmE=", "é"])
async def test_a_page_token_of_no_list_is_refused(server: Server, token: str) -> None:
    request = ListExplanationsRequest(page_token=token)
    refused = await refusal(server.explanations.ListExplanations(request))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert list(refused.fields) == ["page_token"]


async def test_a_negative_page_size_is_refused(server: Server) -> None:
    refused = await refusal(
        server.explanations.ListExplanations(ListExplanationsRequest(page_size=-1))
    )
    assert list(refused.fields) == ["page_size"]


async def test_models_are_listed_by_name_without_labels_and_layers(server: Server) -> None:
    first = await server.models.ListModels(ListModelsRequest(page_size=2))
    second = await server.models.ListModels(
        ListModelsRequest(page_size=2, page_token=first.next_page_token)
    )
    listed = [*first.models, *second.models]
    assert [card.name for card in listed] == ["models/flat", "models/slow", "models/tiny"]
    assert second.next_page_token == ""
    assert not any(card.labels or card.layers for card in listed)
    assert all(card.capabilities for card in listed)


async def test_a_model_is_given_whole(server: Server) -> None:
    card = await server.models.GetModel(GetModelRequest(name="models/tiny"))
    assert card == model("tiny")


@pytest.mark.parametrize("name", ["models/huge", "", "m" * 100_000], ids=["huge", "no", "long"])
async def test_an_unknown_model_is_not_found(server: Server, name: str) -> None:
    refused = await refusal(server.models.GetModel(GetModelRequest(name=name)))
    assert refused.code == grpc.StatusCode.NOT_FOUND
    assert refused.reason == Reason.MODEL_NOT_FOUND


async def test_while_no_worker_lives_calls_are_to_be_tried_again(
    server: Server, worker: HandWorker
) -> None:
    await server.models.GetModel(GetModelRequest(name="models/tiny"))
    worker.redis.delete(f"{records.PREFIX}workers")
    refused = await refusal(server.models.GetModel(GetModelRequest(name="models/huge")))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.NO_WORKER)
    assert refused.retry_after_s == 2
    worker.publish(model("tiny"))
    await server.models.GetModel(GetModelRequest(name="models/tiny"))


async def test_a_model_is_known_as_soon_as_its_worker_is(server: Server, redis_url: str) -> None:
    await server.models.ListModels(ListModelsRequest())
    late = HandWorker(redis_url, "late")
    late.publish(model("late"), kinds=(tasks.GRADIENT,))
    late.redis.close()
    assert (await server.models.GetModel(GetModelRequest(name="late"))).class_count == 4
