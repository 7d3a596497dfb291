"""Callers with tokens: who gets in, and what a tenant sees of another one's."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from expound import records
from expound.reasons import Reason
from expound.v1 import explanation_pb2
from expound.v1.explanation_service_pb2 import (
    CancelExplanationRequest,
    DeleteExplanationRequest,
    GetExplanationRequest,
    ListExplanationsRequest,
    StreamAttributionsRequest,
    WatchExplanationRequest,
)
from expound.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from expound.v1.model_service_pb2 import ListModelsRequest
from expound_server.settings import Settings
from tests.server.calls import Refusal, explain_request, refusal
from tests.server.conftest import Server
from tests.server.hand_worker import HandWorker
from tests.server.server_process import address_of, server_process
from tests.server.tenants import CARDIOLOGY, RADIOLOGY, bearer, serving, two_tenants


@pytest_asyncio.fixture
async def server(settings: Settings, worker: HandWorker, tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings, tmp_path, two_tenants()) as server:
        yield server


async def _explain(server: Server, token: str, request_id: str = "") -> str:
    request = explain_request()
    request.request_id = request_id
    return (await server.explanations.Explain(request, metadata=bearer(token))).name


async def _names(server: Server, token: str) -> list[str]:
    page = await server.explanations.ListExplanations(
        ListExplanationsRequest(), metadata=bearer(token)
    )
    return [explanation.name for explanation in page.explanations]


async def _ask(server: Server, rpc: str, name: str, token: str) -> Any:
    """Calls one of the rpcs that take the name of an explanation."""
    stub, metadata = server.explanations, bearer(token)
    match rpc:
        case "get":
            return await stub.GetExplanation(GetExplanationRequest(name=name), metadata=metadata)
        case "cancel":
            request = CancelExplanationRequest(name=name)
            return await stub.CancelExplanation(request, metadata=metadata)
        case "delete":
            deleted = DeleteExplanationRequest(name=name)
            return await stub.DeleteExplanation(deleted, metadata=metadata)
        case "stream":
            streamed = StreamAttributionsRequest(name=name, key="saliency")
            return await anext(aiter(stub.StreamAttributions(streamed, metadata=metadata)))
    watch = stub.WatchExplanation(WatchExplanationRequest(name=name), metadata=metadata)
    return await anext(aiter(watch))


async def test_what_a_stranger_sends_is_not_read(server: Server, settings: Settings) -> None:
    request = explain_request()
    request.inputs[0].image = bytes(settings.max_message_bytes + 1)
    refused = await refusal(server.explanations.Explain(request))
    assert refused.code == grpc.StatusCode.UNAUTHENTICATED
    assert refused.reason == Reason.UNAUTHENTICATED
    refused = await refusal(server.explanations.Explain(request, metadata=bearer(RADIOLOGY)))
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ((), "who calls is not said"),
        (bearer("radiology-token-1a2b3d"), "the token is not one that is known"),
        (bearer(RADIOLOGY + "0"), "the token is not one that is known"),
        (bearer(""), "must be 'Bearer TOKEN'"),
        ((("authorization", RADIOLOGY),), "must be 'Bearer TOKEN'"),
        ((("authorization", f"Basic {RADIOLOGY}"),), "must be 'Bearer TOKEN'"),
        (bearer(RADIOLOGY) * 2, "must be 'Bearer TOKEN'"),
    ],
)
async def test_every_call_without_a_known_token_is_refused(
    server: Server, metadata: tuple[tuple[str, str], ...], message: str
) -> None:
    explain = await refusal(server.explanations.Explain(explain_request(), metadata=metadata))
    watch = server.explanations.WatchExplanation(WatchExplanationRequest(), metadata=metadata)
    models = await refusal(server.models.ListModels(ListModelsRequest(), metadata=metadata))
    for refused in (explain, await refusal(anext(aiter(watch))), models):
        assert refused.code == grpc.StatusCode.UNAUTHENTICATED
        assert refused.reason == Reason.UNAUTHENTICATED
        assert message in refused.message
        assert RADIOLOGY not in refused.message


async def test_a_scheme_is_known_in_any_letters(server: Server) -> None:
    metadata = (("authorization", f"bearer {RADIOLOGY}"),)
    assert (await server.models.ListModels(ListModelsRequest(), metadata=metadata)).models


@pytest.mark.parametrize("rpc", ["get", "watch", "stream", "cancel", "delete"])
async def test_what_is_anothers_is_not_there(server: Server, worker: HandWorker, rpc: str) -> None:
    name = await _explain(server, RADIOLOGY)
    refused = await refusal(_ask(server, rpc, name, CARDIOLOGY))
    never_was = f"explanations/{'0' * 32}"
    missing = await refusal(_ask(server, rpc, never_was, CARDIOLOGY))
    assert missing.code == grpc.StatusCode.NOT_FOUND
    assert _without_name(refused, name) == _without_name(missing, never_was)
    answer = await _ask(server, "get", name, RADIOLOGY)
    assert answer.state == explanation_pb2.STATE_PENDING
    worker.work_off(name.removeprefix("explanations/"))


def _without_name(refused: Refusal, name: str) -> tuple[object, ...]:
    return (refused.code, refused.reason, refused.message.replace(name, ""), refused.retry_after_s)


@pytest.mark.parametrize("rpc", ["get", "watch", "cancel", "delete"])
async def test_what_is_ones_own_is_there(server: Server, rpc: str) -> None:
    await _ask(server, rpc, await _explain(server, RADIOLOGY), RADIOLOGY)


async def test_lists_hold_ones_own_alone(server: Server, worker: HandWorker) -> None:
    mine = [await _explain(server, RADIOLOGY) for _ in range(2)]
    theirs = await _explain(server, CARDIOLOGY)
    assert await _names(server, RADIOLOGY) == mine[::-1]
    assert await _names(server, CARDIOLOGY) == [theirs]
    await _ask(server, "delete", theirs, CARDIOLOGY)
    assert await _names(server, CARDIOLOGY) == []
    assert not worker.redis.exists(records.index_key("cardiology"))
    assert not worker.redis.exists(f"{records.PREFIX}open:cardiology")


async def test_request_ids_of_two_tenants_have_nothing_to_do_with_each_other(
    server: Server,
) -> None:
    name = await _explain(server, RADIOLOGY, "the-same")
    assert await _explain(server, RADIOLOGY, "the-same") == name
    theirs = await _explain(server, CARDIOLOGY, "the-same")
    assert theirs != name
    await _ask(server, "delete", theirs, CARDIOLOGY)
    assert await _explain(server, RADIOLOGY, "the-same") == name


async def test_health_is_open_and_reflection_is_not_there(server: Server) -> None:
    # The stubs of these packages declare none of their methods.
    health: Any = health_pb2_grpc.HealthStub(server.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    channel: Any = server.channel
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(reflection.ServerReflectionInfo(iter([request]))))
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        (bearer(RADIOLOGY), grpc.StatusCode.UNIMPLEMENTED),
        (bearer("neither-of-them"), grpc.StatusCode.UNAUTHENTICATED),
        ((), grpc.StatusCode.UNAUTHENTICATED),
    ],
)
async def test_strangers_are_not_told_which_rpcs_are_not_there(
    server: Server, metadata: tuple[tuple[str, str], ...], code: grpc.StatusCode
) -> None:
    absent: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(
        "/expound.v1.ExplanationService/Absent"
    )
    assert (await refusal(absent(b"", metadata=metadata))).code == code


async def test_no_secret_is_in_the_log(worker: HandWorker, redis_url: str, tmp_path: Path) -> None:
    tenants = tmp_path / "tenants.toml"
    tenants.write_text(two_tenants())
    password = "hunter2-and-more"
    secret_url = redis_url.replace("redis://", f"redis://:{password}@")
    tokens = (RADIOLOGY, CARDIOLOGY, "neither-of-them-7a8b", "eyJhbGciOiJub25lIn0.eyJ9.c2ln")
    for url in (redis_url, secret_url):
        with server_process(url, "--tenants", str(tenants)) as process:
            async with grpc.aio.insecure_channel(address_of(process)) as channel:
                stub = ExplanationServiceStub(channel)
                for token in tokens:
                    for metadata in (bearer(token), (("authorization", token),)):
                        try:
                            await stub.Explain(explain_request(), metadata=metadata)
                        except grpc.aio.AioRpcError as error:
                            assert token not in str(error)
            process.stop()
            logged = process.output()
        assert "UNAUTHENTICATED" in logged
        for secret in (*tokens, password, *(token[:12] for token in tokens)):
            assert secret not in logged
