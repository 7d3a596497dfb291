"""Reuse: a question that was answered, or is being answered, is not worked on again."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from expound import records
from expound.v1 import explanation_pb2, tensor_pb2
from expound.v1.explanation_service_pb2 import (
    CancelExplanationRequest,
    DeleteExplanationRequest,
    GetExplanationRequest,
    WatchExplanationRequest,
)
from expound_server.settings import Settings
from tests.server.calls import explain_request
from tests.server.conftest import Server, running
from tests.server.hand_worker import HandWorker, model

SUCCEEDED, PENDING = explanation_pb2.STATE_SUCCEEDED, explanation_pb2.STATE_PENDING


@pytest_asyncio.fixture
async def server(settings: Settings, worker: HandWorker) -> AsyncIterator[Server]:
    async with running(dataclasses.replace(settings, max_reuse_age_s=60)) as server:
        yield server


def _id(explanation: explanation_pb2.Explanation) -> str:
    return explanation.name.removeprefix("explanations/")


async def _ask(server: Server, **fields: object) -> explanation_pb2.Explanation:
    request = explain_request("saliency", "lime")
    request.MergeFrom(explanation_pb2.ExplainRequest(**fields))  # type: ignore[arg-type]
    return await server.explanations.Explain(request)


async def _answered(server: Server, worker: HandWorker) -> explanation_pb2.Explanation:
    first = await _ask(server)
    worker.work_off(_id(first), methods=2)
    return first


async def test_a_repeated_question_is_answered_at_once_without_a_worker(
    server: Server, worker: HandWorker
) -> None:
    first = await _answered(server, worker)
    second = await _ask(server)
    assert second.state == SUCCEEDED and second.reused and second.name != first.name
    assert [result.state for result in second.results] == [SUCCEEDED, SUCCEEDED]
    assert second.results[0].attributions[0].values.data
    assert second.results[1].attempt == 1 and second.provenance.worker == "hand"
    assert second.predictions[0].classes[0].label == "cat"


async def test_a_reused_answer_says_all_that_the_first_one_says(
    server: Server, worker: HandWorker
) -> None:
    asked = await _ask(server)
    attempt = worker.claim(_id(asked))
    assert attempt
    worker.predict(_id(asked), attempt)
    for unit in range(2):
        claimed = worker.claim(_id(asked), unit)
        assert claimed
        worker.progress(_id(asked), unit, claimed, done=7)
        worker.succeed(_id(asked), unit, claimed)
    for view in (
        explanation_pb2.EXPLANATION_VIEW_BASIC,
        explanation_pb2.EXPLANATION_VIEW_FULL,
    ):
        first, second = [
            await server.explanations.GetExplanation(GetExplanationRequest(name=name, view=view))
            for name in (asked.name, (await _ask(server)).name)
        ]
        assert second.reused and not first.reused
        assert all(result.progress.evaluations_done == 7 for result in second.results)
        for result in (*first.results, *second.results):
            assert result.HasField("start_time") and result.HasField("end_time")
        for reused, result in zip(second.results, first.results, strict=True):
            assert reused.reused and not result.reused
            reused.ClearField("reused")
            assert reused == result
        assert second.provenance == first.provenance
        assert second.predictions == first.predictions


async def test_a_reused_answer_that_no_message_holds_comes_without_its_tensors(
    server: Server, worker: HandWorker
) -> None:
    first = await server.explanations.Explain(explain_request())
    worker.claim(_id(first))
    attempt = worker.claim(_id(first), 0)
    assert attempt
    worker.predict(_id(first), 1)
    worker.succeed(_id(first), 0, attempt, size=200_000)
    second = await server.explanations.Explain(explain_request())
    assert second.reused
    assert second.results[0].attributions[0].output == 0.5
    assert not second.results[0].attributions[0].HasField("values")


async def _work_off(
    server: Server, worker: HandWorker, *methods: str, failing: str = ""
) -> explanation_pb2.Explanation:
    """Asks for methods, and answers each with a map that no other method has."""
    asked = await server.explanations.Explain(explain_request(*methods))
    attempt = worker.claim(_id(asked))
    assert attempt
    worker.predict(_id(asked), attempt)
    for unit, method in enumerate(methods):
        claimed = worker.claim(_id(asked), unit)
        assert claimed
        if method == failing:
            worker.fail(_id(asked), unit, claimed)
        else:
            worker.succeed(_id(asked), unit, claimed, size=len(method))
    return await server.explanations.GetExplanation(GetExplanationRequest(name=asked.name))


async def test_methods_that_others_have_answered_need_no_worker_whoever_was_asked_for_what(
    server: Server, worker: HandWorker
) -> None:
    both = await _work_off(server, worker, "saliency", "lime")
    alone = await _work_off(server, worker, "occlusion")
    request = explain_request("lime", "occlusion")
    request.methods[0].key = "another_name"
    found = await server.explanations.Explain(request)
    assert (found.state, found.reused) == (SUCCEEDED, True)
    for result, source in zip(found.results, (both.results[1], alone.results[0]), strict=True):
        assert result.reused and result.end_time == source.end_time
        assert result.attributions == source.attributions
    assert [result.key for result in found.results] == ["another_name", "occlusion"]
    assert found.provenance == both.provenance and found.predictions == both.predictions


async def test_only_the_methods_that_nobody_has_answered_are_worked_on(
    server: Server, worker: HandWorker
) -> None:
    before = await _work_off(server, worker, "saliency", "lime")
    asked = await server.explanations.Explain(explain_request("saliency", "occlusion", "lime"))
    assert (asked.state, asked.reused) == (PENDING, False)
    attempt = worker.claim(_id(asked))
    assert attempt and worker.predict(_id(asked), attempt)
    assert [worker.claim(_id(asked), unit) for unit in (0, 2)] == [None, None]
    assert worker.run("offer", _id(asked), attempt, "1", "2") == [b"1"]
    claimed = worker.claim(_id(asked), 1)
    assert claimed and worker.succeed(_id(asked), 1, claimed)
    watch = server.explanations.WatchExplanation(WatchExplanationRequest(name=asked.name))
    events = [event async for event in watch]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.method_state_changed.key for event in events][3:-1] == [
        "saliency",
        "lime",
        "occlusion",
        "occlusion",
    ]
    found = await server.explanations.GetExplanation(GetExplanationRequest(name=asked.name))
    assert (found.state, found.reused) == (SUCCEEDED, False)
    assert [result.reused for result in found.results] == [True, False, True]
    for result, source in zip(found.results[::2], before.results, strict=True):
        assert result.attributions == source.attributions


async def test_an_explanation_ends_where_others_have_answered_all_of_it_meanwhile(
    server: Server, worker: HandWorker
) -> None:
    asked = await server.explanations.Explain(explain_request("saliency", "lime"))
    for method in ("saliency", "lime"):
        await _work_off(server, worker, method)
    attempt = worker.claim(_id(asked))
    assert attempt and worker.predict(_id(asked), attempt)
    found = await server.explanations.GetExplanation(GetExplanationRequest(name=asked.name))
    assert (found.state, found.reused) == (SUCCEEDED, False)
    assert [len(result.attributions[0].values.data) > 0 for result in found.results] == [True] * 2
    succeeded = str(int(SUCCEEDED))
    assert worker.run("finish", _id(asked), "explain", attempt, succeeded, b"", b"", b"") == 1


async def test_what_has_failed_is_worked_on_again_and_what_was_done_beside_it_is_not(
    server: Server, worker: HandWorker
) -> None:
    failed = await _work_off(server, worker, "saliency", "lime", failing="saliency")
    assert failed.state == explanation_pb2.STATE_FAILED
    lime = await server.explanations.Explain(explain_request("lime"))
    assert lime.reused and lime.results[0].attributions == failed.results[1].attributions
    assert not (await server.explanations.Explain(explain_request("saliency"))).reused


async def test_nothing_is_reused_for_predictions_of_another_version(
    server: Server, worker: HandWorker
) -> None:
    await _work_off(server, worker, "lime")
    asked = await server.explanations.Explain(explain_request("lime", "saliency"))
    worker.weights = records.weights("2", "other weights")
    attempt = worker.claim(_id(asked))
    assert attempt and worker.predict(_id(asked), attempt)
    assert worker.claim(_id(asked), 0) == 1


async def test_a_deleted_explanation_answers_nobody(server: Server, worker: HandWorker) -> None:
    first = await _work_off(server, worker, "lime")
    await server.explanations.DeleteExplanation(DeleteExplanationRequest(name=first.name))
    assert not (await server.explanations.Explain(explain_request("lime"))).reused


def test_a_reused_answer_is_kept_for_as_long_as_it_was_asked_for(worker: HandWorker) -> None:
    worker.create("a", question="q", ttl_ms=10_000)
    worker.create("follows", question="q", ttl_ms=100_000)
    worker.work_off("a")
    worker.create("again", question="q", ttl_ms=100_000)
    for name in ("follows", "again"):
        assert worker.redis.pttl(records.result_key(name, 0)) > 100_000


async def test_its_watcher_sees_the_predictions_every_method_and_the_end(
    server: Server, worker: HandWorker
) -> None:
    await _answered(server, worker)
    second = await _ask(server)
    watch = server.explanations.WatchExplanation(WatchExplanationRequest(name=second.name))
    events = [event async for event in watch]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.WhichOneof("event") for event in events] == [
        "state_changed",
        "predictions_ready",
        "method_state_changed",
        "method_state_changed",
        "state_changed",
    ]
    assert events[-1].state_changed.state == SUCCEEDED


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"target": explanation_pb2.Target(class_index=2)},
        {"methods": [explain_request("grad_cam").methods[0]]},
        {"output": explanation_pb2.OutputOptions(values_dtype=tensor_pb2.DATA_TYPE_FLOAT16)},
        {"inputs": [explanation_pb2.Input(image=b"another")]},
        {"fresh": True},
    ],
)
async def test_another_question_is_worked_on(
    server: Server, worker: HandWorker, other: dict[str, object]
) -> None:
    await _answered(server, worker)
    asked = await _ask(server, **other)
    assert asked.state == PENDING and not asked.reused
    assert worker.claim(_id(asked)) == 1


async def test_how_long_it_may_take_is_no_part_of_a_question(
    server: Server, worker: HandWorker
) -> None:
    await _answered(server, worker)
    asked = await _ask(server, timeout=Duration(seconds=5), ttl=Duration(seconds=50))
    assert asked.reused


async def test_each_that_asks_for_a_fresh_answer_gets_its_own(
    server: Server, worker: HandWorker
) -> None:
    first = await _ask(server, fresh=True)
    worker.work_off(_id(first), methods=2)
    second = await _ask(server, fresh=True)
    assert second.state == PENDING and not second.reused


async def test_the_same_question_to_other_weights_is_worked_on(
    server: Server, worker: HandWorker
) -> None:
    await _answered(server, worker)
    changed = model("tiny")
    changed.digest = "other weights"
    worker.publish(changed)
    asked = await _ask(server)
    while asked.state != PENDING:  # the server reads the cards from time to time
        asked = await _ask(server)


async def test_what_another_version_has_answered_is_not_reused(
    server: Server, worker: HandWorker
) -> None:
    first = await _ask(server)
    second = await _ask(server)
    worker.weights = records.weights("2", "other weights")
    worker.work_off(_id(first), methods=2)
    third = await _ask(server)
    assert third.state == PENDING and not third.reused
    worker.weights = records.weights("", "")
    assert worker.claim(_id(second)) == 1
    worker.work_off(_id(third), methods=2)
    fourth = await _ask(server)
    assert fourth.state == SUCCEEDED and fourth.reused


async def test_equal_requests_in_flight_are_worked_on_once(
    server: Server, worker: HandWorker
) -> None:
    first = await _ask(server)
    attempt = worker.claim(_id(first))
    assert attempt == 1
    waiting = explain_request("saliency", "lime", wait_s=30)
    others = [asyncio.ensure_future(server.explanations.Explain(waiting)) for _ in range(3)]
    followers = f"{records.record_key(_id(first))}:followers"
    while await asyncio.to_thread(worker.redis.scard, followers) != 3:
        pass
    worker.predict(_id(first), attempt)
    for unit in range(2):
        claimed = worker.claim(_id(first), unit)
        assert claimed
        worker.succeed(_id(first), unit, claimed)
    for other in await asyncio.gather(*others):
        assert other.state == SUCCEEDED and other.reused
        assert other.results[1].attributions[0].values.data
        assert worker.claim(_id(other)) is None


async def test_equal_requests_in_flight_are_all_worked_on_where_nothing_is_reused(
    settings: Settings, worker: HandWorker
) -> None:
    async with running(settings) as server:
        asked = [await _ask(server), await _ask(server)]
        for explanation in asked:
            worker.work_off(_id(explanation), methods=2)
        third = await _ask(server)
        assert (third.state, third.reused) == (PENDING, False)


@pytest.mark.parametrize("end", ["cancel", "delete", "fail"])
async def test_those_that_wait_are_worked_on_when_there_is_no_answer_for_them(
    server: Server, worker: HandWorker, end: str
) -> None:
    first = await _ask(server)
    attempt = worker.claim(_id(first))
    assert attempt
    second = await _ask(server)
    assert worker.run("claim_ready", "default", "hand", "", "models/tiny", 8) == []
    if end == "cancel":
        await server.explanations.CancelExplanation(CancelExplanationRequest(name=first.name))
    elif end == "delete":
        await server.explanations.DeleteExplanation(DeleteExplanationRequest(name=first.name))
    else:
        claimed = worker.claim(_id(first), 0)
        assert claimed
        worker.fail(_id(first), 0, claimed)
        claimed = worker.claim(_id(first), 1)
        assert claimed
        worker.succeed(_id(first), 1, claimed)
    [(claimed_id, *_)] = worker.run("claim_ready", "default", "hand", "", "models/tiny", 8)
    assert claimed_id.decode() == _id(second)
    third = await _ask(server)
    assert third.state == PENDING


async def test_cancelling_one_that_waits_leaves_the_other_alone(
    server: Server, worker: HandWorker
) -> None:
    first = await _ask(server)
    second = await _ask(server)
    await server.explanations.CancelExplanation(CancelExplanationRequest(name=second.name))
    worker.work_off(_id(first), methods=2)
    assert worker.record(_id(first))[b"state"] == str(int(SUCCEEDED)).encode()
    cancelled = str(int(explanation_pb2.STATE_CANCELLED)).encode()
    assert worker.record(_id(second))[b"state"] == cancelled


def test_another_tenants_answer_is_not_reused(worker: HandWorker) -> None:
    worker.create("a", question="q", tenant="one")
    worker.work_off("a")
    assert worker.create("b", question="q", tenant="two") == ("created", "b")
    assert worker.create("c", question="q", tenant="one") == ("reused", "c")


def test_an_answer_that_is_too_old_is_not_reused(worker: HandWorker) -> None:
    worker.create("a", question="q")
    worker.work_off("a")
    assert worker.create("b", question="q", max_reuse_age_ms=0) == ("created", "b")
    attempt = worker.claim("b")
    assert attempt and worker.predict("b", attempt)
    assert worker.claim("b", 0) == 1
