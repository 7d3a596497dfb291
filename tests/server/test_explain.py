"""Explain: what is stored, queued and answered."""

import asyncio
import uuid

import grpc
import pytest

from expound import records, tasks
from expound.reasons import Reason
from expound.v1 import explanation_pb2, method_pb2, tensor_pb2
from expound.v1.explanation_service_pb2 import (
    CancelExplanationRequest,
    DeleteExplanationRequest,
    GetExplanationRequest,
    ListExplanationsRequest,
    WatchExplanationRequest,
)
from expound.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from tests.server.calls import explain_request, refusal
from tests.server.conftest import Server
from tests.server.hand_worker import HandWorker


def _id(explanation: explanation_pb2.Explanation) -> str:
    return explanation.name.removeprefix("explanations/")


async def test_a_request_is_stored_with_all_defaults_and_one_ticket_is_sent(
    server: Server, worker: HandWorker
) -> None:
    answer = await server.explanations.Explain(explain_request("integrated_gradients"))
    assert answer.state == explanation_pb2.STATE_PENDING
    assert answer.request.methods[0].integrated_gradients.n_steps == 50
    assert answer.request.methods[0].integrated_gradients.baseline.HasField("zero")
    assert answer.request.output.values_dtype == tensor_pb2.DATA_TYPE_FLOAT32
    assert answer.request.target.top_k == 1
    assert answer.request.timeout.seconds == 600
    assert not answer.request.inputs
    assert worker.tickets() == 1
    stored = worker.redis.get(f"{records.record_key(_id(answer))}:input:0")
    assert stored == explanation_pb2.Input(image=b"an image").SerializeToString()


async def test_the_ticket_goes_to_the_pool_of_the_model(server: Server, worker: HandWorker) -> None:
    await server.explanations.Explain(explain_request(model="models/slow"))
    assert (worker.tickets("gradient"), worker.tickets("gradient.slow")) == (0, 1)


async def test_a_ticket_is_json_and_holds_the_id_alone(server: Server, worker: HandWorker) -> None:
    accepted = await server.explanations.Explain(explain_request())
    assert await asyncio.to_thread(worker.next_ticket) == {
        "task": tasks.EXPLAIN,
        "arguments": [_id(accepted)],
        "keywords": {},
        "content_type": "application/json",
    }


async def test_one_ticket_is_sent_for_requests_that_run_as_one_batch(
    server: Server, worker: HandWorker
) -> None:
    for _ in range(2):
        await server.explanations.Explain(explain_request())
    assert worker.tickets() == 1


@pytest.mark.parametrize("apart", ["", "deterministic", "seed", "output", "methods"])
async def test_requests_run_as_one_batch_unless_something_keeps_them_apart(
    server: Server, worker: HandWorker, apart: str
) -> None:
    first, second = explain_request(), explain_request()
    second.target.class_index = 1
    match apart:
        case "deterministic":
            first.deterministic = second.deterministic = True
        case "seed":
            second.seed = 1
        case "output":
            second.output.values_dtype = tensor_pb2.DATA_TYPE_FLOAT16
        case "methods":
            second.methods[0].saliency.noise_tunnel.SetInParent()
    second.methods[0].key = "saliency"
    for request in (first, second):
        await server.explanations.Explain(request)
    claimed = worker.run("claim_ready", "default", "hand", "", "models/tiny", 100)
    assert len(claimed) == (1 if apart else 2)


@pytest.mark.parametrize(
    ("method", "images", "is_lasting"),
    [
        ("saliency", 1, False),
        ("integrated_gradients", 1, True),
        ("lime", 1, False),
        ("lime", 2, True),
    ],
)
async def test_what_takes_longer_than_a_chunk_waits_in_a_queue_of_its_own(
    server: Server, worker: HandWorker, method: str, images: int, is_lasting: bool
) -> None:
    request = explain_request(method)
    request.inputs.extend([explanation_pb2.Input(image=b"another")] * (images - 1))
    await server.explanations.Explain(request)
    queue = records.lasting_queue("default") if is_lasting else "default"
    assert worker.redis.zcard(f"{records.PREFIX}ready:{queue}") == 1


async def test_default_keys_name_the_method_its_noise_and_repeats(server: Server) -> None:
    request = explain_request("saliency", "saliency", "saliency", "lime", "saliency")
    request.methods[1].saliency.noise_tunnel.type = method_pb2.NoiseTunnel.TYPE_SMOOTHGRAD_SQ
    request.methods[2].saliency.noise_tunnel.SetInParent()
    request.methods[3].key = "saliency_2"
    answer = await server.explanations.Explain(request)
    keys = [method.key for method in answer.request.methods]
    assert keys == [
        "saliency",
        "saliency_smoothgrad_sq",
        "saliency_smoothgrad",
        "saliency_2",
        "saliency_3",
    ]


async def test_validate_only_resolves_and_stores_nothing(
    server: Server, worker: HandWorker
) -> None:
    request = explain_request("lime")
    request.validate_only = True
    answer = await server.explanations.Explain(request)
    assert answer.name == ""
    assert answer.request.methods[0].lime.n_samples == 1000
    assert worker.tickets() == 0
    assert worker.redis.zcard(records.index_key("default")) == 0


async def test_a_waiting_call_answers_with_the_full_result_when_the_work_is_done(
    server: Server, worker: HandWorker
) -> None:
    request = explain_request(wait_s=30)
    request.request_id = str(uuid.uuid4())
    call = asyncio.ensure_future(server.explanations.Explain(request))
    ticket = await asyncio.to_thread(worker.next_ticket)
    worker.work_off(ticket["arguments"][0])
    answer = await call
    assert answer.state == explanation_pb2.STATE_SUCCEEDED
    assert answer.results[0].state == explanation_pb2.STATE_SUCCEEDED
    assert answer.results[0].method == "saliency"
    assert answer.results[0].attempt == 1
    assert list(answer.results[0].attributions[0].values.shape) == [8, 6]
    assert answer.predictions[0].classes[0].label == "cat"
    assert answer.provenance.worker == "hand"
    assert answer.end_time.ToMicroseconds() >= answer.create_time.ToMicroseconds()


async def test_a_waiting_call_answers_without_tensors_where_no_message_holds_them(
    server: Server, worker: HandWorker
) -> None:
    call = asyncio.ensure_future(server.explanations.Explain(explain_request(wait_s=30)))
    ticket = await asyncio.to_thread(worker.next_ticket)
    explanation_id = ticket["arguments"][0]
    worker.claim(explanation_id)
    attempt = worker.claim(explanation_id, 0)
    assert attempt
    worker.succeed(explanation_id, 0, attempt, size=200_000)
    answer = await call
    assert _id(answer) == explanation_id
    assert answer.state == explanation_pb2.STATE_SUCCEEDED
    assert answer.results[0].attributions[0].output == 0.5
    assert not answer.results[0].attributions[0].HasField("values")


async def test_what_was_cancelled_is_told_without_tensors_where_no_message_holds_them(
    server: Server, worker: HandWorker
) -> None:
    accepted = await server.explanations.Explain(explain_request("saliency", "lime"))
    worker.claim(_id(accepted))
    attempt = worker.claim(_id(accepted), 0)
    assert attempt
    worker.succeed(_id(accepted), 0, attempt, size=200_000)
    request = CancelExplanationRequest(name=accepted.name)
    answer = await server.explanations.CancelExplanation(request)
    assert answer.state == explanation_pb2.STATE_CANCELLED
    assert not answer.results[0].attributions[0].HasField("values")


async def test_what_is_waited_for_gets_its_ticket_though_a_watch_begins(
    server: Server, worker: HandWorker
) -> None:
    watched = await server.explanations.Explain(explain_request("lime"))
    await asyncio.to_thread(worker.next_ticket)
    requests = [explain_request(wait_s=30) for _ in range(5)]
    for seed, request in enumerate(requests):
        request.seed = seed
    calls = [asyncio.ensure_future(server.explanations.Explain(request)) for request in requests]
    watch = server.explanations.WatchExplanation(WatchExplanationRequest(name=watched.name))
    assert (await anext(aiter(watch))).sequence == 1
    for _ in calls:
        ticket = await asyncio.to_thread(worker.next_ticket)
        worker.work_off(ticket["arguments"][0])
    answers = await asyncio.gather(*calls)
    assert {answer.state for answer in answers} == {explanation_pb2.STATE_SUCCEEDED}


async def test_a_wait_ends_before_the_callers_own_deadline(server: Server) -> None:
    answer = await server.explanations.Explain(explain_request(wait_s=600), timeout=0.5)
    assert answer.state == explanation_pb2.STATE_PENDING


async def test_a_call_that_comes_to_its_turn_behind_its_deadline_is_not_stored(
    server: Server,
) -> None:
    with grpc.insecure_channel(server.address) as channel:
        grpc.channel_ready_future(channel).result(20)
        late = ExplanationServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            # The server lives in this loop, and cannot look at the call before it is over.
            late.Explain(explain_request(), timeout=0.1)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    listed = await server.explanations.ListExplanations(ListExplanationsRequest())
    assert not listed.explanations


async def test_the_same_request_id_gives_the_first_explanation_and_its_ticket_again(
    server: Server, worker: HandWorker
) -> None:
    request = explain_request("lime")
    request.request_id = "one"
    first = await server.explanations.Explain(request)
    request.methods[0].lime.n_samples = 1000
    request.wait.nanos = 1
    second = await server.explanations.Explain(request)
    assert second.name == first.name
    assert worker.tickets() == 2
    worker.work_off(_id(first))
    third = await server.explanations.Explain(request)
    assert third.state == explanation_pb2.STATE_SUCCEEDED
    assert worker.tickets() == 2


async def test_a_repeated_request_whose_results_are_gone_is_not_found(
    server: Server, worker: HandWorker
) -> None:
    request = explain_request()
    request.request_id = "one"
    first = await server.explanations.Explain(request)
    worker.work_off(_id(first))
    worker.redis.delete(records.result_key(_id(first), 0))
    refused = await refusal(server.explanations.Explain(request))
    assert refused.reason == Reason.EXPLANATION_NOT_FOUND


@pytest.mark.parametrize("change", ["input", "parameter", "seed", "ttl"])
async def test_the_same_request_id_with_another_body_is_refused(
    server: Server, change: str
) -> None:
    request = explain_request("lime")
    request.request_id = "one"
    first = await server.explanations.Explain(request)
    match change:
        case "input":
            request.inputs[0].image = b"another image"
        case "parameter":
            request.methods[0].lime.n_samples = 999
        case "seed":
            request.seed = 1
        case "ttl":
            request.ttl.FromSeconds(60)
    refused = await refusal(server.explanations.Explain(request))
    assert refused.code == grpc.StatusCode.ALREADY_EXISTS
    assert refused.reason == Reason.REQUEST_ID_REUSED
    assert refused.metadata == {"request_id": "one", "name": first.name}


async def test_a_request_id_is_free_again_after_deletion(server: Server) -> None:
    request = explain_request()
    request.request_id = "one"
    first = await server.explanations.Explain(request)
    await server.explanations.DeleteExplanation(DeleteExplanationRequest(name=first.name))
    second = await server.explanations.Explain(request)
    assert second.name != first.name


async def test_twenty_equal_requests_at_once_make_one_explanation(server: Server) -> None:
    request = explain_request()
    request.request_id = "one"
    answers = await asyncio.gather(*(server.explanations.Explain(request) for _ in range(20)))
    assert len({answer.name for answer in answers}) == 1


async def test_the_basic_view_leaves_the_tensors_out(server: Server, worker: HandWorker) -> None:
    accepted = await server.explanations.Explain(explain_request())
    worker.work_off(_id(accepted))
    basic = await server.explanations.GetExplanation(
        GetExplanationRequest(name=accepted.name, view=explanation_pb2.EXPLANATION_VIEW_BASIC)
    )
    full = await server.explanations.GetExplanation(GetExplanationRequest(name=accepted.name))
    assert not basic.results[0].attributions[0].HasField("values")
    assert basic.results[0].attributions[0].output == 0.5
    assert full.results[0].attributions[0].HasField("values")
