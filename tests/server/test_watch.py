"""WatchExplanation: no gap, no repeat, and an end."""

import asyncio
import logging
import random
from collections.abc import AsyncIterable
from dataclasses import replace

import grpc
import pytest

from expound.reasons import Reason
from expound.v1 import explanation_pb2
from expound.v1.explanation_pb2 import ExplanationEvent
from expound.v1.explanation_service_pb2 import (
    DeleteExplanationRequest,
    GetExplanationRequest,
    WatchExplanationRequest,
)
from expound.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from expound_client import AsyncClient
from expound_server import doorbell
from expound_server.settings import Settings
from tests.processes import RedisServer, wait_until
from tests.server.calls import explain_request, refusal
from tests.server.conftest import Server, running
from tests.server.hand_worker import HandWorker, model

Watch = grpc.aio.UnaryStreamCall[WatchExplanationRequest, ExplanationEvent]

WATCHERS = 200
STEPS = 40
SEED = 7


def _watch(
    server: Server,
    name: str,
    after_sequence: int = 0,
    view: explanation_pb2.ExplanationView.ValueType = explanation_pb2.EXPLANATION_VIEW_BASIC,
) -> "Watch":
    request = WatchExplanationRequest(name=name, after_sequence=after_sequence, view=view)
    return server.explanations.WatchExplanation(request)


async def _all(watch: AsyncIterable[ExplanationEvent]) -> list[ExplanationEvent]:
    return [event async for event in watch]


async def _accepted(server: Server, *methods: str) -> tuple[str, str]:
    """Name and id of a new explanation."""
    name = (await server.explanations.Explain(explain_request(*methods))).name
    return name, name.removeprefix("explanations/")


async def test_events_tell_the_whole_story_in_order(server: Server, worker: HandWorker) -> None:
    name, explanation_id = await _accepted(server)
    worker.work_off(explanation_id)
    events = await _all(_watch(server, name))
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event.WhichOneof("event") for event in events] == [
        "state_changed",
        "state_changed",
        "predictions_ready",
        "method_state_changed",
        "method_state_changed",
        "state_changed",
    ]
    assert events[2].predictions_ready.predictions[0].classes[0].label == "cat"
    assert events[3].method_state_changed.key == "saliency"
    assert events[3].method_state_changed.state == explanation_pb2.STATE_RUNNING
    assert events[3].method_state_changed.attempt == 1
    assert events[5].state_changed.state == explanation_pb2.STATE_SUCCEEDED
    times = [event.time.ToMicroseconds() for event in events]
    assert times == sorted(times)


@pytest.mark.parametrize("view", ["BASIC", "FULL"])
async def test_a_result_comes_with_its_tensors_when_asked(
    server: Server, worker: HandWorker, view: str
) -> None:
    name, explanation_id = await _accepted(server)
    worker.work_off(explanation_id)
    number = explanation_pb2.ExplanationView.Value(f"EXPLANATION_VIEW_{view}")
    events = await _all(_watch(server, name, view=number))
    result = events[4].method_state_changed.result
    assert result.state == explanation_pb2.STATE_SUCCEEDED
    assert result.key == "saliency"
    assert result.attributions[0].output == 0.5
    assert result.attributions[0].HasField("values") == (view == "FULL")


async def test_watchers_with_and_without_tensors_share_no_answer(
    server: Server, worker: HandWorker
) -> None:
    name, explanation_id = await _accepted(server)
    worker.work_off(explanation_id)
    views = (explanation_pb2.EXPLANATION_VIEW_BASIC, explanation_pb2.EXPLANATION_VIEW_FULL) * 5
    watched = await asyncio.gather(*(_all(_watch(server, name, view=view)) for view in views))
    results = [events[4].method_state_changed.result for events in watched]
    assert [result.attributions[0].HasField("values") for result in results] == [False, True] * 5


async def test_a_result_that_no_message_holds_comes_without_its_tensors(
    server: Server, worker: HandWorker
) -> None:
    name, explanation_id = await _accepted(server, "saliency", "lime")
    worker.claim(explanation_id)
    for unit, size in enumerate((200_000, 8)):
        attempt = worker.claim(explanation_id, unit)
        assert attempt
        worker.succeed(explanation_id, unit, attempt, size)
    events = await _all(_watch(server, name, view=explanation_pb2.EXPLANATION_VIEW_FULL))
    results = [event.method_state_changed.result for event in events]
    found = [result.attributions[0] for result in results if result.attributions]
    assert [attribution.output for attribution in found] == [0.5, 0.5]
    assert [attribution.HasField("values") for attribution in found] == [False, True]


@pytest.mark.parametrize("after_sequence", range(8))
async def test_a_watch_goes_on_behind_the_sequence_it_is_given(
    server: Server, worker: HandWorker, after_sequence: int
) -> None:
    name, explanation_id = await _accepted(server)
    worker.work_off(explanation_id)
    events = await _all(_watch(server, name, after_sequence))
    assert [event.sequence for event in events] == list(range(after_sequence + 1, 7))


async def test_a_watch_above_the_newest_event_waits_for_what_comes_behind(
    server: Server, worker: HandWorker
) -> None:
    name, explanation_id = await _accepted(server)
    seen = asyncio.ensure_future(_all(_watch(server, name, after_sequence=4)))
    # A call behind it on the same connection: the watch has begun when this one is answered.
    await server.explanations.GetExplanation(GetExplanationRequest(name=name))
    worker.work_off(explanation_id)
    assert [event.sequence for event in await seen] == [5, 6]


async def test_a_negative_sequence_is_refused(server: Server) -> None:
    name, _ = await _accepted(server)
    refused = await refusal(_all(_watch(server, name, after_sequence=-1)))
    assert list(refused.fields) == ["after_sequence"]


async def test_a_failed_method_tells_why(server: Server, worker: HandWorker) -> None:
    name, explanation_id = await _accepted(server)
    worker.claim(explanation_id)
    attempt = worker.claim(explanation_id, 0)
    assert attempt is not None
    worker.fail(explanation_id, 0, attempt)
    events = await _all(_watch(server, name))
    assert events[-2].method_state_changed.error.message == "the model broke"
    assert not events[-2].method_state_changed.HasField("result")
    assert events[-1].state_changed.error.message == "the model broke"
    assert not events[0].state_changed.HasField("error")


async def test_a_watch_of_a_deleted_explanation_ends_as_not_found(
    server: Server, worker: HandWorker
) -> None:
    name, _ = await _accepted(server)
    events = aiter(_watch(server, name))
    await anext(events)
    rest = asyncio.ensure_future(refusal(_all(events)))
    await server.explanations.DeleteExplanation(DeleteExplanationRequest(name=name))
    refused = await rest
    assert refused.code == grpc.StatusCode.NOT_FOUND
    assert refused.reason == Reason.EXPLANATION_NOT_FOUND


async def test_a_watch_survives_the_loss_of_the_doorbell(
    server: Server, worker: HandWorker
) -> None:
    name, explanation_id = await _accepted(server, "lime")
    events = aiter(_watch(server, name))
    await anext(events)
    worker.redis.client_kill_filter(_type="pubsub")
    worker.work_off(explanation_id)
    async with asyncio.timeout(5):
        assert [event.sequence for event in await _all(events)] == [2, 3, 4, 5, 6]


async def test_what_happens_while_the_doorbell_is_away_is_seen_when_it_is_back(
    server: Server,
    worker: HandWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(doorbell, "_RECONNECT_DELAY_S", 1.0)
    caplog.set_level(logging.DEBUG, doorbell.__name__)
    name, explanation_id = await _accepted(server, "lime")
    events = aiter(_watch(server, name))
    await anext(events)
    worker.redis.client_kill_filter(_type="pubsub")
    async with asyncio.timeout(8):  # it looks again after 10 s in any case
        await asyncio.to_thread(wait_until, lambda: "doorbell lost" in caplog.text, "its loss")
        # The look that the loss was the reason for is over when this call is.
        await server.explanations.GetExplanation(GetExplanationRequest(name=name))
        worker.work_off(explanation_id)
        assert [event.sequence for event in await _all(events)] == [2, 3, 4, 5, 6]


async def test_a_watch_is_told_of_a_redis_that_is_away(settings: Settings) -> None:
    redis = RedisServer()
    with redis:
        worker = HandWorker(redis.url)
        worker.publish(model("tiny"))
        worker.redis.close()
        async with running(replace(settings, redis_url=redis.url)) as server:
            name, _ = await _accepted(server)
            events = aiter(_watch(server, name))
            await anext(events)
            redis.stop()
            async with asyncio.timeout(8):  # it looks again after 10 s in any case
                refused = await refusal(anext(events))
    assert refused.reason == Reason.REDIS_UNAVAILABLE


async def test_no_more_streams_than_the_limit_are_open_on_a_connection(
    settings: Settings, worker: HandWorker
) -> None:
    """The next one waits at its caller until one has ended, and keeps no other caller waiting."""
    async with running(replace(settings, max_concurrent_streams=3)) as server:
        name, _ = await _accepted(server)
        watches = [_watch(server, name) for _ in range(3)]
        for watch in watches:
            assert await watch.read() is not grpc.aio.EOF
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await server.explanations.GetExplanation(GetExplanationRequest(name=name), timeout=1)
        assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        own = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(server.address, own) as another:
            stub = ExplanationServiceStub(another)
            assert await stub.GetExplanation(GetExplanationRequest(name=name), timeout=20)
        watches[0].cancel()
        assert await server.explanations.GetExplanation(
            GetExplanationRequest(name=name), timeout=20
        )
        for watch in watches[1:]:
            watch.cancel()


async def test_two_clients_of_one_process_have_a_connection_each(
    settings: Settings, worker: HandWorker
) -> None:
    async with (
        running(replace(settings, max_concurrent_streams=1)) as server,
        AsyncClient(server.address) as one,
        AsyncClient(server.address) as two,
    ):
        watched = await one.explain(b"an image", model="tiny", methods=["saliency"])
        events = watched.watch()
        await anext(events)
        async with asyncio.timeout(10):
            assert (await two.get(watched.name)).name == watched.name
        await events.aclose()


async def test_more_events_than_are_read_at_once_come_all(
    server: Server, worker: HandWorker
) -> None:
    name, explanation_id = await _accepted(server, "lime")
    worker.claim(explanation_id)
    attempt = worker.claim(explanation_id, 0)
    assert attempt is not None
    for done in range(250):
        worker.progress(explanation_id, 0, attempt, done)
    worker.succeed(explanation_id, 0, attempt)
    events = await _all(_watch(server, name))
    assert [event.sequence for event in events] == list(range(1, 256))
    assert events[5].method_progressed.progress.evaluations_done == 2


class Pace:
    """Lets the worker take a step only when some watcher has seen the step before."""

    def __init__(self) -> None:
        self._newest = 0
        self._moved = asyncio.Condition()

    async def saw(self, sequence: int) -> None:
        """A watcher has seen an event."""
        if sequence > self._newest:
            async with self._moved:
                self._newest = max(self._newest, sequence)
                self._moved.notify_all()

    async def until(self, sequence: int) -> None:
        """Waits until some watcher has seen an event."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._newest >= sequence)


async def _watch_with_breaks(
    server: Server, name: str, pace: Pace, chance: random.Random
) -> list[ExplanationEvent]:
    """Watches to the end, and breaks off and goes on at random points."""
    seen: list[ExplanationEvent] = []
    while True:
        watch = _watch(server, name, after_sequence=len(seen))
        left = chance.randint(1, 12)
        async for event in watch:
            seen.append(event)
            await pace.saw(event.sequence)
            left -= 1
            if left == 0:
                watch.cancel()
                break
        else:
            return seen


async def _work_at_pace(worker: HandWorker, explanation_id: str, pace: Pace) -> None:
    worker.claim(explanation_id)
    attempt = worker.claim(explanation_id, 0)
    assert attempt is not None
    for step in range(STEPS):
        await pace.until(step + 3)
        worker.progress(explanation_id, 0, attempt, step)
    worker.succeed(explanation_id, 0, attempt)


async def test_two_hundred_watchers_that_break_off_at_random_see_the_same(
    server: Server, worker: HandWorker
) -> None:
    name, explanation_id = await _accepted(server, "lime")
    pace, chance = Pace(), random.Random(SEED)
    async with asyncio.timeout(60):
        *seen, _ = await asyncio.gather(
            *(
                _watch_with_breaks(server, name, pace, random.Random(chance.random()))
                for _ in range(WATCHERS)
            ),
            _work_at_pace(worker, explanation_id, pace),
        )
    first = seen[0] or []
    assert [event.sequence for event in first] == list(range(1, STEPS + 6))
    for events in seen:
        assert events == first
    assert worker.redis.info("clients")["connected_clients"] < 50
