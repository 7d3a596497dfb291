"""The gRPC port under TLS and mutual TLS, and the port for health checks beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from expound.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from expound.v1.model_service_pb2 import ListModelsRequest
from expound.v1.model_service_pb2_grpc import ModelServiceStub
from expound_server.app import App
from expound_server.settings import Settings, SettingsError
from tests.certificates import Authority, Certificate
from tests.processes import free_port
from tests.server.calls import explain_request
from tests.server.hand_worker import HandWorker
from tests.server.server_process import exit_code, server_process


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("localhost", "127.0.0.1")


@pytest.fixture
def secured(settings: Settings, certificate: Certificate) -> Settings:
    return replace(settings, tls_certificate=str(certificate.chain), tls_key=str(certificate.key))


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[int]:
    """Runs a server; gives its port."""
    app = App(settings)
    port = await app.start()
    try:
        yield port
    finally:
        await app.stop()


async def _models(
    port: int, authority: Authority | None, own: Certificate | None = None
) -> list[str]:
    """Lists the models over TLS, or in the clear without an authority."""
    address = f"127.0.0.1:{port}"
    if authority is None:
        channel = grpc.aio.insecure_channel(address)
    else:
        credentials = grpc.ssl_channel_credentials(
            authority.file.read_bytes(),
            own.key.read_bytes() if own else None,
            own.chain.read_bytes() if own else None,
        )
        channel = grpc.aio.secure_channel(address, credentials)
    async with channel:
        answer = await ModelServiceStub(channel).ListModels(ListModelsRequest(), timeout=10)
    return [model.name for model in answer.models]


async def _code(port: int, authority: Authority | None, own: Certificate | None = None) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await _models(port, authority, own)
    return raised.value.code().name


async def test_a_client_that_knows_the_authority_is_served_and_no_other(
    secured: Settings, authority: Authority, worker: HandWorker, tmp_path: Path
) -> None:
    async with _running(secured) as port:
        assert "models/tiny" in await _models(port, authority)
        assert await _code(port, Authority(tmp_path, "stranger")) == "UNAVAILABLE"
        assert await _code(port, None) == "UNAVAILABLE"


async def test_mutual_tls_serves_only_who_has_a_certificate_of_the_authority(
    secured: Settings, authority: Authority, worker: HandWorker, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    async with _running(replace(secured, tls_client_ca=str(authority.file))) as port:
        assert await _models(port, authority, authority.issue("scanner.example.org"))
        assert await _code(port, authority) == "UNAVAILABLE"
        foreign = stranger.issue("scanner.example.org")
        assert await _code(port, authority, foreign) == "UNAVAILABLE"


async def test_health_checks_on_their_own_port_need_no_certificate_and_find_nothing_else(
    secured: Settings, authority: Authority, worker: HandWorker
) -> None:
    health_port = free_port()
    settings = replace(secured, tls_client_ca=str(authority.file), health_port=health_port)
    async with _running(settings):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{health_port}") as channel:
            # The types of this package know no methods of its stub.
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert await _code(health_port, None) == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tls_key": ""}, "--tls-key is missing"),
        ({"tls_certificate": ""}, "--tls-certificate is missing"),
        ({"tls_certificate": "", "tls_key": "", "tls_client_ca": "any"}, "--tls-certificate"),
        ({"tls_certificate": "/nowhere"}, "No such file"),
        ({"tls_key": "{other}"}, "KEY_VALUES_MISMATCH"),
        ({"tls_client_ca": "/nowhere"}, "authorities of client certificates /nowhere"),
        ({"tls_client_ca": "{key}"}, "authorities of client certificates"),
    ],
)
async def test_incomplete_settings_are_refused_at_start(
    secured: Settings,
    authority: Authority,
    certificate: Certificate,
    wrong: dict[str, str],
    message: str,
) -> None:
    files = {"other": str(authority.issue("elsewhere").key), "key": str(certificate.key)}
    changes: dict[str, Any] = {name: value.format(**files) for name, value in wrong.items()}
    with pytest.raises(SettingsError, match=message):
        App(replace(secured, **changes))


def test_the_process_says_what_is_missing_and_ends(certificate: Certificate) -> None:
    options = ("--tls-certificate", str(certificate.chain))
    with server_process("redis://127.0.0.1:1/0", *options) as process:
        assert exit_code(process) == 2
        assert process.output() == (
            "expound_server: error: TLS needs a certificate and its key; --tls-key is missing\n"
        )


@pytest.mark.parametrize(
    ("names", "common_name", "expected"),
    [
        (("scanner.example.org",), None, "radiology"),
        (("ward-3.example.org",), "ward-3", "cardiology"),
        (("10.0.0.7",), None, "cardiology"),
        (("scanner.example.org",), "ward-3", "radiology"),
        (("elsewhere.example.org",), "elsewhere", None),
    ],
)
async def test_the_names_in_a_client_certificate_say_whose_it_is(
    secured: Settings,
    authority: Authority,
    worker: HandWorker,
    tmp_path: Path,
    names: tuple[str, ...],
    common_name: str | None,
    expected: str | None,
) -> None:
    tenants = tmp_path / "tenants.toml"
    tenants.write_text("""
        [tenants.radiology]
        certificates = ["scanner.example.org"]
        [tenants.cardiology]
        certificates = ["ward-3", "10.0.0.7"]
    """)
    settings = replace(secured, tls_client_ca=str(authority.file), tenants=str(tenants))
    own = authority.issue(*names, common_name=common_name)
    async with _running(settings) as port:
        if expected is None:
            assert await _code(port, authority, own) == "UNAUTHENTICATED"
            return
        credentials = grpc.ssl_channel_credentials(
            authority.file.read_bytes(), own.key.read_bytes(), own.chain.read_bytes()
        )
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            answer = await ExplanationServiceStub(channel).Explain(explain_request())
        record = worker.record(answer.name.removeprefix("explanations/"))
        assert record[b"tenant"].decode() == expected
