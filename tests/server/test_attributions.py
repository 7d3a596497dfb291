"""StreamAttributions: all maps of a method, however many bytes they are."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from expound import records
from expound.reasons import Reason
from expound.tensors import from_tensor
from expound.v1 import explanation_pb2
from expound.v1.explanation_pb2 import Attribution
from expound.v1.explanation_service_pb2 import (
    CancelExplanationRequest,
    GetExplanationRequest,
    StreamAttributionsRequest,
)
from expound_client import AsyncClient, Client, ExplanationResult
from expound_server.settings import Settings
from tests.server.calls import explain_request, refusal
from tests.server.conftest import Server, running
from tests.server.hand_worker import HandWorker

LIMIT_BYTES = 2**17
INPUTS = 7
SIZE = 2000
MAP_BYTES = SIZE * 6 * 4
METHODS = ("saliency", "lime")


@pytest.fixture
async def small(settings: Settings, worker: HandWorker) -> AsyncIterator[Server]:
    """A server whose messages hold two maps, and not three."""
    async with running(replace(settings, max_message_bytes=LIMIT_BYTES)) as server:
        yield server


async def _explained(server: Server, worker: HandWorker, *, units: int = 2) -> str:
    """An explanation by two methods, the first `units` of which have a map of every input."""
    name = (await server.explanations.Explain(explain_request(*METHODS))).name
    attempt = worker.claim(_id(name))
    assert attempt
    worker.predict(_id(name), attempt)
    for unit in range(units):
        claimed = worker.claim(_id(name), unit)
        assert claimed
        worker.succeed(_id(name), unit, claimed, SIZE, inputs=INPUTS)
    return name


def _id(name: str) -> str:
    return name.removeprefix("explanations/")


async def _maps(server: Server, name: str, key: str, skip: int = 0) -> list[Attribution]:
    request = StreamAttributionsRequest(name=name, key=key, skip=skip)
    return [each async for each in server.explanations.StreamAttributions(request)]


def _stored(worker: HandWorker, name: str, unit: int) -> list[Attribution]:
    """What a worker has stored of a method."""
    whole = worker.redis.get(records.result_key(_id(name), unit))
    assert isinstance(whole, bytes) and len(whole) > 2 * LIMIT_BYTES
    return list(explanation_pb2.MethodResult.FromString(whole).attributions)


async def test_maps_that_no_message_holds_are_streamed(small: Server, worker: HandWorker) -> None:
    name = await _explained(small, worker)
    for unit, key in enumerate(METHODS):
        assert await _maps(small, name, key) == _stored(worker, name, unit)


@pytest.mark.parametrize("skip", [1, INPUTS - 1, INPUTS, 2**31 - 1])
async def test_a_stream_goes_on_behind_what_has_come(
    small: Server, worker: HandWorker, skip: int
) -> None:
    name = await _explained(small, worker)
    found = await _maps(small, name, "lime", skip)
    assert [each.input_index for each in found] == list(range(skip, INPUTS))


async def test_a_method_without_a_result_has_no_maps(small: Server, worker: HandWorker) -> None:
    name = await _explained(small, worker, units=1)
    assert len(await _maps(small, name, "saliency")) == INPUTS
    assert await _maps(small, name, "lime") == []


async def test_only_the_method_that_is_asked_for_is_read(small: Server, worker: HandWorker) -> None:
    name = await _explained(small, worker)
    worker.redis.delete(records.result_key(_id(name), 1))
    assert len(await _maps(small, name, "saliency")) == INPUTS
    refused = await refusal(_maps(small, name, "lime"))
    assert refused.reason == Reason.EXPLANATION_NOT_FOUND


@pytest.mark.parametrize(
    ("change", "field", "allowed"),
    [
        ({"key": "rise"}, "key", "is not one of lime, saliency"),
        ({"key": ""}, "key", "is not one of lime, saliency"),
        ({"skip": -1}, "skip", "must be from 0, not -1"),
    ],
)
async def test_what_the_explanation_does_not_have_is_refused(
    small: Server, worker: HandWorker, change: dict[str, str | int], field: str, allowed: str
) -> None:
    name = await _explained(small, worker)
    refused = await refusal(_maps(small, name, **({"key": "lime"} | change)))  # type: ignore[arg-type]  # as the cases have it
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == {field: allowed}


async def test_a_map_that_no_message_holds_is_refused(
    settings: Settings, worker: HandWorker
) -> None:
    async with running(replace(settings, max_message_bytes=MAP_BYTES)) as server:
        name = await _explained(server, worker)
        refused = await refusal(_maps(server, name, "saliency"))
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.reason == Reason.MESSAGE_TOO_LARGE
    assert "FLOAT16 or PNG" in refused.message


async def test_an_answer_that_is_too_large_without_its_tensors_is_refused_and_its_maps_are_not(
    small: Server, worker: HandWorker
) -> None:
    name = (await small.explanations.Explain(explain_request())).name
    worker.claim(_id(name))
    attempt = worker.claim(_id(name), 0)
    assert attempt
    worker.succeed(_id(name), 0, attempt, size=1, inputs=LIMIT_BYTES // 16)
    refused = await refusal(small.explanations.GetExplanation(GetExplanationRequest(name=name)))
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.reason == Reason.MESSAGE_TOO_LARGE
    assert await _maps(small, name, "saliency") == _stored(worker, name, 0)


@pytest.mark.parametrize("ends", ["get", "cancel"])
async def test_an_answer_that_no_message_holds_is_not_read_and_comes_without_tensors(
    small: Server, worker: HandWorker, ends: str
) -> None:
    name = await _explained(small, worker, units=2 if ends == "get" else 1)
    sent_before = _bytes_sent(worker)
    if ends == "get":
        answer = await small.explanations.GetExplanation(GetExplanationRequest(name=name))
        assert answer.state == explanation_pb2.STATE_SUCCEEDED
    else:
        answer = await small.explanations.CancelExplanation(CancelExplanationRequest(name=name))
        assert answer.state == explanation_pb2.STATE_CANCELLED
    assert _bytes_sent(worker) - sent_before < LIMIT_BYTES
    assert answer.predictions
    maps = answer.results[0].attributions
    assert [each.output for each in maps] == [0.5] * INPUTS
    assert not any(each.HasField("values") for each in maps)


async def test_the_clients_put_all_maps_together(small: Server, worker: HandWorker) -> None:
    name = await _explained(small, worker)

    def get() -> ExplanationResult:
        with Client(small.address) as client:
            return client.get(name).result(30)

    async with AsyncClient(small.address) as client:
        results = (await (await client.get(name)).result(30), await asyncio.to_thread(get))
    for result in results:
        assert len(result.predictions) == 1
        for unit, key in enumerate(METHODS):
            stored = [from_tensor(each.values) for each in _stored(worker, name, unit)]
            found = [each.values for each in result.attributions(key)]
            assert [each.tobytes() for each in found] == [each.tobytes() for each in stored]


def _bytes_sent(worker: HandWorker) -> int:
    """How much Redis has sent to all that are connected."""
    return int(worker.redis.info("stats")["total_net_output_bytes"])


async def test_an_answer_that_a_message_holds_comes_with_its_tensors(
    server: Server, worker: HandWorker
) -> None:
    name = await _explained(server, worker)
    answer = await server.explanations.GetExplanation(GetExplanationRequest(name=name))
    for unit, result in enumerate(answer.results):
        assert list(result.attributions) == _stored(worker, name, unit)
