"""TLS, certificates and tokens of the clients, against a service that asks for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from expound.reasons import Reason, status
from expound_client import AsyncClient, Client
from expound_client.cli import run
from expound_client.errors import InvalidArgumentError, UnavailableError
from tests.certificates import Authority, Certificate
from tests.client import canned
from tests.client.fake_service import FakeService

METHODS = ["saliency", "lime"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def own(authority: Authority) -> Certificate:
    return authority.issue("scanner.example.org")


@pytest.fixture
def secured(authority: Authority) -> Iterator[FakeService]:
    """A service under TLS."""
    with FakeService(_credentials(authority)) as running:
        yield running


@pytest.fixture
def mutual(authority: Authority) -> Iterator[FakeService]:
    """A service that asks for client certificates."""
    with FakeService(_credentials(authority, client_ca=authority)) as running:
        yield running


def _credentials(
    authority: Authority, client_ca: Authority | None = None
) -> grpc.ServerCredentials:
    certificate = authority.issue("127.0.0.1")
    return grpc.ssl_server_credentials(
        [(certificate.key.read_bytes(), certificate.chain.read_bytes())],
        client_ca.file.read_bytes() if client_ca else None,
        client_ca is not None,
    )


def test_an_authority_is_enough_for_tls(secured: FakeService, authority: Authority) -> None:
    with Client(secured.address, ca=authority.file) as client:
        assert client.models()
    with Client(secured.address, ca=str(authority.file), tls=True) as client:
        assert client.models()


def test_a_server_that_is_not_believed_gets_nothing(secured: FakeService, tmp_path: Path) -> None:
    for options in ({"tls": True}, {"ca": Authority(tmp_path, "stranger").file}):
        arguments: dict[str, Any] = {**options, "token": "secret"}
        with (
            Client(secured.address, timeout_s=5, **arguments) as client,
            pytest.raises(UnavailableError),
        ):
            client.models()
    assert secured.authorizations == []


def test_a_certificate_is_shown_to_who_asks_for_one(
    mutual: FakeService, authority: Authority, own: Certificate
) -> None:
    with Client(mutual.address, ca=authority.file, cert=own.chain, key=own.key) as client:
        assert client.models()
    with (
        Client(mutual.address, ca=authority.file, timeout_s=5) as client,
        pytest.raises(UnavailableError),
    ):
        client.models()


def test_every_call_carries_the_token(secured: FakeService, authority: Authority) -> None:
    with Client(secured.address, ca=authority.file, token="the-token") as client:
        explanation = client.explain(canned.png(), model="small", methods=METHODS)
        explanation.result(30)
        client.get(explanation.name)
        list(client.list())
        client.models()
        explanation.delete()
    assert set(secured.requests) >= {"Explain", "WatchExplanation", "GetExplanation", "GetModel"}
    assert set(secured.authorizations) == {"Bearer the-token"}


async def test_every_call_of_the_asyncio_client_carries_the_token(
    secured: FakeService, authority: Authority
) -> None:
    async with AsyncClient(secured.address, ca=authority.file, token="the-token") as client:
        explanation = await client.explain(canned.png(), model="small", methods=METHODS)
        await explanation.result(30)
        await client.get(explanation.name)
        assert [found async for found in client.list()]
        await client.models()
        await explanation.delete()
    assert set(secured.requests) >= {"Explain", "WatchExplanation", "GetExplanation", "GetModel"}
    assert set(secured.authorizations) == {"Bearer the-token"}


def test_a_token_that_expires_is_asked_for_before_each_call(service: FakeService) -> None:
    tokens = iter(["first", "second"])
    with Client(service.address, tls=False, token=lambda: next(tokens)) as client:
        client.models()
        client.models()
    assert service.authorizations == ["Bearer first", "Bearer second"]


def test_a_token_is_not_sent_in_the_clear_unless_that_is_asked_for(service: FakeService) -> None:
    with (
        Client(service.address, token="secret", timeout_s=5) as client,
        pytest.raises(UnavailableError),
    ):
        client.models()
    assert service.authorizations == []


def test_without_a_token_none_is_sent(service: FakeService, client: Client) -> None:
    client.models()
    assert service.authorizations == [""]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"cert": "a.pem"}, "cert"),
        ({"key": "a.key"}, "key"),
        ({"tls": False, "ca": "ca.pem"}, "ca"),
        ({"credentials": grpc.ssl_channel_credentials(), "ca": "ca.pem"}, "credentials"),
        ({"credentials": grpc.ssl_channel_credentials(), "tls": True}, "credentials"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        Client("localhost:1", **options)
    assert raised.value.violations[0].field == field


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        Client("localhost:1", ca="/nowhere/ca.pem")


def test_the_command_line_takes_them_as_options_and_variables(
    mutual: FakeService,
    authority: Authority,
    own: Certificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = tmp_path / "token"
    token.write_text("from-a-file\n")
    files = ["--ca", str(authority.file), "--cert", str(own.chain), "--key", str(own.key)]
    assert run(["models", "--server", mutual.address, *files, "--token-file", str(token)]) == 0
    for name, value in (
        ("SERVER", mutual.address),
        ("CA", str(authority.file)),
        ("CERT", str(own.chain)),
        ("KEY", str(own.key)),
        ("TOKEN", "from-a-variable"),
    ):
        monkeypatch.setenv(f"EXPOUND_{name}", value)
    assert run(["models"]) == 0
    assert run(["models", "--token-file", str(token)]) == 0
    by_file, by_variable = "Bearer from-a-file", "Bearer from-a-variable"
    assert mutual.authorizations == [by_file, by_variable, by_file]


def test_an_empty_variable_is_no_token(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPOUND_TOKEN", "")
    assert run(["models", "--server", service.address]) == 0


def test_the_command_line_says_what_is_wrong(
    service: FakeService, own: Certificate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "--server", service.address, "--cert", str(own.chain)]) == 2
    assert "cert and key are given together, or neither" in capsys.readouterr().err


def test_the_command_line_says_who_is_not_known(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.refusals["ListModels"] = [status(Reason.UNAUTHENTICATED, "who calls is not said")]
    assert run(["models", "--server", service.address]) == 2
    assert "who calls is not said" in capsys.readouterr().err
