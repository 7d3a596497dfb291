"""What callers and the log are told of errors."""

import asyncio
import logging
from contextlib import closing
from dataclasses import replace

import grpc
import pytest

from expound import records
from expound.reasons import Reason
from expound.v1.explanation_service_pb2 import GetExplanationRequest, WatchExplanationRequest
from expound_server.settings import Settings, read_settings
from tests.processes import RedisServer, free_port, wait_until
from tests.server.calls import explain_request, refusal
from tests.server.conftest import Server, running
from tests.server.hand_worker import HandWorker, model


async def test_an_unknown_error_is_internal_with_an_id_and_without_details(
    server: Server, worker: HandWorker, caplog: pytest.LogCaptureFixture
) -> None:
    name = (await server.explanations.Explain(explain_request())).name
    key = records.record_key(name.removeprefix("explanations/"))
    worker.redis.hset(key, "create_time", "yesterday")
    refused = await refusal(server.explanations.GetExplanation(GetExplanationRequest(name=name)))
    assert refused.code == grpc.StatusCode.INTERNAL
    assert refused.reason == Reason.INTERNAL
    assert "yesterday" not in refused.message
    assert "int()" not in refused.message
    [failure] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert refused.metadata["id"] in failure.getMessage()
    assert refused.metadata["id"] in refused.message
    assert failure.exc_info is not None


async def test_every_call_is_logged_in_one_line_without_what_it_carries(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    request = explain_request()
    request.inputs[0].image = b"secret"
    await server.explanations.Explain(request)
    request.target.label = "secret"
    await refusal(server.explanations.Explain(request))
    lines = [record.getMessage() for record in caplog.records if record.name.endswith(".logging")]
    assert len(lines) == 2
    assert "/expound.v1.ExplanationService/Explain OK" in lines[0]
    assert "/expound.v1.ExplanationService/Explain INVALID_ARGUMENT" in lines[1]
    assert len({line.split()[0] for line in lines}) == 2
    assert "secret" not in caplog.text


async def test_a_call_that_its_caller_gives_up_is_logged_as_cancelled(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    name = (await server.explanations.Explain(explain_request())).name
    watch = server.explanations.WatchExplanation(WatchExplanationRequest(name=name))
    await anext(aiter(watch))
    watch.cancel()
    line = "/expound.v1.ExplanationService/WatchExplanation CANCELLED"
    await asyncio.to_thread(wait_until, lambda: line in caplog.text, "its line")


async def test_a_ticket_that_cannot_be_sent_is_unavailable_and_a_retry_works(
    server: Server, worker: HandWorker
) -> None:
    request = explain_request()
    request.request_id = "one"
    # The queue's key holds something else, so that Celery cannot push to it.
    prefix = "expound:celery:"
    worker.redis.set(f"{prefix}gradient", "in the way")
    refused = await refusal(server.explanations.Explain(request))
    assert refused.code == grpc.StatusCode.UNAVAILABLE
    assert refused.reason == Reason.REDIS_UNAVAILABLE
    worker.redis.delete(f"{prefix}gradient")
    accepted = await server.explanations.Explain(request)
    assert worker.tickets() == 1
    assert worker.claim(accepted.name.removeprefix("explanations/")) == 1


async def test_a_redis_that_is_a_replica_now_is_unavailable_until_it_is_none(
    settings: Settings,
) -> None:
    with RedisServer() as redis, closing(HandWorker(redis.url).redis) as connection:
        HandWorker(redis.url).publish(model("tiny"))
        async with running(replace(settings, redis_url=redis.url)) as server:
            connection.replicaof("127.0.0.1", str(free_port()))
            refused = await refusal(server.explanations.Explain(explain_request()))
            assert refused.code == grpc.StatusCode.UNAVAILABLE
            assert (refused.reason, refused.retry_after_s) == (Reason.REDIS_UNAVAILABLE, 1)
            connection.replicaof("NO", "ONE")
            assert (await server.explanations.Explain(explain_request())).name


@pytest.mark.parametrize("service", ["ExplanationService", "ModelService", "NoService"])
async def test_an_rpc_that_is_not_there_is_unimplemented(server: Server, service: str) -> None:
    absent: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(
        f"/expound.v1.{service}/Absent"
    )
    assert (await refusal(absent(b""))).code == grpc.StatusCode.UNIMPLEMENTED


def test_settings_come_from_flags_then_environment_then_defaults() -> None:
    environment = {"EXPOUND_SERVER_PORT": "1", "EXPOUND_SERVER_GRACE_S": "2.5"}
    settings = read_settings(["--port", "7"], environment)
    assert settings == Settings(port=7, grace_s=2.5)
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
