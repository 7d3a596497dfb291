"""The server as a process: its start, its drain, and Redis coming and going."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from expound.reasons import Reason
from expound.v1 import explanation_pb2
from expound.v1.explanation_service_pb2 import GetExplanationRequest, WatchExplanationRequest
from expound.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from expound.v1.model_service_pb2 import ListModelsRequest
from expound.v1.model_service_pb2_grpc import ModelServiceStub
from expound_server.health import LIVENESS
from tests.processes import Process, RedisServer, free_port, wait_until
from tests.server.calls import explain_request, refusal
from tests.server.hand_worker import HandWorker, model
from tests.server.server_process import address_of, exit_code, server_process

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ("", "expound.v1.ExplanationService", "expound.v1.ModelService")


@pytest.fixture
def process(redis_url: str) -> Iterator[Process]:
    with server_process(redis_url, "--grace-s", "5") as process:
        yield process


@pytest_asyncio.fixture
async def channel(process: Process, worker: HandWorker) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address_of(process)) as channel:
        yield channel


def _health_stub(channel: grpc.aio.Channel) -> Any:
    # The stubs of the package declare none of its methods.
    return health_pb2_grpc.HealthStub(channel)


async def _health(channel: grpc.aio.Channel) -> set[int]:
    stub = _health_stub(channel)
    answers = [
        await stub.Check(health_pb2.HealthCheckRequest(service=service)) for service in SERVICES
    ]
    return {answer.status for answer in answers}


async def _until_health(channel: grpc.aio.Channel, status: int) -> None:
    """Waits until the health service reports a status."""
    watch = _health_stub(channel).Watch(health_pb2.HealthCheckRequest())
    async with asyncio.timeout(20):
        async for answer in watch:
            if answer.status == status:
                break
    watch.cancel()


async def test_a_drain_ends_watches_answers_waits_and_exits_with_0(
    process: Process, channel: grpc.aio.Channel, worker: HandWorker
) -> None:
    stub = ExplanationServiceStub(channel)
    name = (await stub.Explain(explain_request())).name
    events = aiter(stub.WatchExplanation(WatchExplanationRequest(name=name)))
    await anext(events)
    waiting = asyncio.ensure_future(
        stub.Explain(explain_request("integrated_gradients", wait_s=60))
    )
    await asyncio.to_thread(wait_until, lambda: worker.tickets() == 2, "the second ticket")
    process.signal(signal.SIGTERM)
    refused = await refusal(anext(events))
    assert refused.code == grpc.StatusCode.UNAVAILABLE
    assert refused.reason == Reason.SERVER_STOPPING
    assert refused.retry_after_s == 0
    assert (await waiting).state == explanation_pb2.STATE_PENDING
    assert await asyncio.to_thread(exit_code, process) == 0
    assert "Traceback" not in process.output()


async def test_the_health_service_says_not_serving_before_the_end(
    process: Process, channel: grpc.aio.Channel
) -> None:
    assert await _health(channel) == {SERVING}
    watch = aiter(_health_stub(channel).Watch(health_pb2.HealthCheckRequest()))
    assert (await anext(watch)).status == SERVING
    process.signal(signal.SIGTERM)
    assert (await anext(watch)).status == NOT_SERVING


@pytest.mark.parametrize("kinds", [("gradient", "perturbation"), ("perturbation", "gradient")])
async def test_without_a_worker_for_both_kinds_of_work_it_is_alive_but_not_serving(
    redis_url: str, kinds: tuple[str, str]
) -> None:
    worker = HandWorker(redis_url)
    with server_process(redis_url) as process:
        async with grpc.aio.insecure_channel(address_of(process)) as channel:
            assert await _health(channel) == {NOT_SERVING}
            alive = health_pb2.HealthCheckRequest(service=LIVENESS)
            assert (await _health_stub(channel).Check(alive)).status == SERVING
            worker.publish(model("tiny"), kinds=kinds[:1])
            helper = HandWorker(redis_url, "helper")
            helper.publish(model("tiny"), kinds=kinds[1:])
            await _until_health(channel, SERVING)
            worker.run("heartbeat", worker.worker, 1, "")
            await _until_health(channel, NOT_SERVING)
    worker.redis.close()
    helper.redis.close()


async def test_it_serves_where_one_pool_has_workers_for_both_kinds_of_work(redis_url: str) -> None:
    """The workers of one pool do nothing for another; a pool that comes or goes stops no other."""
    workers = [HandWorker(redis_url, f"worker {number}") for number in range(3)]
    workers[0].publish(model("tiny"), kinds=("gradient",))
    workers[1].publish(model("big", pool="big"), kinds=("perturbation",), pool="big")
    with server_process(redis_url) as process:
        async with grpc.aio.insecure_channel(address_of(process)) as channel:
            assert await _health(channel) == {NOT_SERVING}
            workers[2].publish(model("tiny"), kinds=("perturbation",))
            await _until_health(channel, SERVING)
            workers[2].run("heartbeat", workers[2].worker, 1, "")
            await _until_health(channel, NOT_SERVING)
    for worker in workers:
        worker.redis.close()


async def test_without_redis_it_starts_and_is_unavailable_until_redis_is_there(
    tmp_path: Path,
) -> None:
    redis = RedisServer()
    with server_process(redis.url) as process:
        async with grpc.aio.insecure_channel(address_of(process)) as channel:
            assert await _health(channel) == {NOT_SERVING}
            refused = await refusal(ModelServiceStub(channel).ListModels(ListModelsRequest()))
            assert refused.code == grpc.StatusCode.UNAVAILABLE
            assert refused.reason == Reason.REDIS_UNAVAILABLE
            assert refused.retry_after_s == 1
            with redis:
                worker = HandWorker(redis.url)
                worker.publish(model("tiny"))
                await _until_health(channel, SERVING)
                stub = ExplanationServiceStub(channel)
                assert (await stub.Explain(explain_request())).name
                worker.redis.close()
            await _until_health(channel, NOT_SERVING)
            assert (await refusal(stub.Explain(explain_request()))).reason == (
                Reason.REDIS_UNAVAILABLE
            )
        assert process.stop() == 0


async def test_a_restart_of_redis_is_survived_with_its_records(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis, server_process(redis.url) as process:
        worker = HandWorker(redis.url)
        worker.publish(model("tiny"))
        async with grpc.aio.insecure_channel(address_of(process)) as channel:
            stub = ExplanationServiceStub(channel)
            name = (await stub.Explain(explain_request())).name
            events = aiter(stub.WatchExplanation(WatchExplanationRequest(name=name)))
            await anext(events)
            redis.kill()
            assert (await refusal(anext(events))).reason == Reason.REDIS_UNAVAILABLE
            await asyncio.to_thread(redis.start)
            await _until_health(channel, SERVING)
            explanation = await stub.GetExplanation(GetExplanationRequest(name=name))
            assert explanation.state == explanation_pb2.STATE_PENDING
            rest = stub.WatchExplanation(WatchExplanationRequest(name=name, after_sequence=1))
            worker.work_off(name.removeprefix("explanations/"))
            assert [event.sequence async for event in rest] == [2, 3, 4, 5, 6]
            assert (await stub.Explain(explain_request())).name
        worker.redis.close()


async def test_reflection_names_the_services(channel: grpc.aio.Channel, process: Process) -> None:
    def services() -> set[str]:
        with grpc.insecure_channel(address_of(process)) as blocking:
            return set(ProtoReflectionDescriptorDatabase(blocking).get_services())

    assert set(SERVICES[1:]) < await asyncio.to_thread(services)


def test_a_taken_port_is_an_error(redis_url: str) -> None:
    port = str(free_port())
    with server_process(redis_url, "--port", port) as first:
        address_of(first)
        with server_process(redis_url, "--port", port) as second:
            assert exit_code(second) == 1
            assert f"cannot listen on 127.0.0.1:{port}" in second.output()


def test_a_wrong_setting_is_an_error() -> None:
    with server_process("redis://127.0.0.1:1/0", "--port", "many") as process:
        assert exit_code(process) == 2
        assert "invalid int value: 'many'" in process.output()
