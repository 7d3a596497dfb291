"""tenants.toml: what it says, and how it is refused."""

import asyncio
import json
import re
import shutil
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from expound.v1.model_service_pb2 import ListModelsRequest
from expound.v1.model_service_pb2_grpc import ModelServiceStub
from expound_server.app import App
from expound_server.settings import Settings, SettingsError
from expound_server.tenants import JwtRules, Limits
from expound_server.tenants_file import read_tenants
from tests.certificates import Authority
from tests.server.hand_worker import HandWorker
from tests.server.server_process import address_of, server_process
from tests.server.tenants import RADIOLOGY, bearer, serving, token_hash, two_tenants

HASH = token_hash(RADIOLOGY)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC_KEY = ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True)
PRIVATE_KEY = ECAlgorithm.to_jwk(EC_KEY, as_dict=True)
SHARED_KEY = {"kty": "oct", "k": "c2VjcmV0"}
README = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
PLACEHOLDER = "SHA-256 OF THE TOKEN"


def readme(language: str) -> list[str]:
    """The code blocks of the section on who may call."""
    section = README.partition("## Who may call")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def _file(folder: Path, content: str) -> Path:
    file = folder / "tenants.toml"
    file.write_text(content)
    return file


def test_limits_of_a_tenant_are_its_own_and_else_those_of_all(tmp_path: Path) -> None:
    tenants = read_tenants(
        _file(
            tmp_path,
            """
            [limits]
            requests_in_flight = 10
            images_per_minute = 60
            [tenants.default.limits]
            images_per_minute = 0
            evaluations_per_request = 5000
            """,
        )
    )
    assert tenants.tenant("default").limits == Limits(10, 0, 5000)
    assert tenants.tenant("another").limits == Limits(10, 60, 0)
    assert not tenants.told_apart


def test_the_file_of_the_readme_is_right(tmp_path: Path) -> None:
    tenants = read_tenants(_file(tmp_path, "".join(readme("toml")).replace(PLACEHOLDER, HASH)))
    assert tenants.tenant("radiology").limits == Limits(100, 3000, 100_000, 2_000_000_000)
    assert tenants.token_hashes == {HASH: "radiology"}
    assert tenants.certificates == {"scanner.example.org": "scanners"}
    assert tenants.jwt == JwtRules(
        tmp_path / "jwks.json", "https://issuer.example.org", "expound", ("RS256", "ES256")
    )


def test_the_file_of_the_readme_is_refused_until_it_has_a_hash(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="number 1 is not 64 small"):
        read_tenants(_file(tmp_path, readme("toml")[0]))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the token")
async def test_a_server_lets_in_the_token_that_the_command_of_the_readme_makes(
    settings: Settings, worker: HandWorker, tmp_path: Path
) -> None:
    (command,) = [block for block in readme("sh") if "sha256sum" in block]
    printed = await asyncio.to_thread(
        subprocess.check_output, ["bash", "-euc", command], cwd=tmp_path, text=True
    )
    file = readme("toml")[0].replace(PLACEHOLDER, printed.split()[0])
    token = (tmp_path / "token").read_text().strip()
    async with serving(settings, tmp_path, file) as server:
        call = server.models.ListModels
        assert (await call(ListModelsRequest(), metadata=bearer(token))).models
        with pytest.raises(grpc.aio.AioRpcError, match="the token is not one that is known"):
            await call(ListModelsRequest(), metadata=bearer("foo"))


async def test_a_server_lets_in_the_certificate_of_the_readme(
    redis_url: str, worker: HandWorker, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    own, scanner = authority.issue("127.0.0.1"), authority.issue("scanner.example.org")
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{**PUBLIC_KEY, "kid": "first"}]}))
    file = _file(tmp_path, "".join(readme("toml")).replace(PLACEHOLDER, HASH))
    options = ["--tls-certificate", str(own.chain), "--tls-key", str(own.key)]
    options += ["--tls-client-ca", str(authority.file), "--tenants", str(file)]
    credentials = grpc.ssl_channel_credentials(
        authority.file.read_bytes(), scanner.key.read_bytes(), scanner.chain.read_bytes()
    )
    with server_process(redis_url, *options) as process:
        address = await asyncio.to_thread(address_of, process)
        async with grpc.aio.secure_channel(address, credentials) as channel:
            answer = await ModelServiceStub(channel).ListModels(ListModelsRequest(), timeout=20)
    assert answer.models


def test_the_readme_names_every_variable() -> None:
    for setting in fields(Settings):
        assert f"`{setting.metadata['variable']}`" in README


def test_no_hash_of_a_token_is_shown(tmp_path: Path) -> None:
    tenants = read_tenants(_file(tmp_path, two_tenants()))
    assert tenants.told_apart
    assert HASH not in repr(tenants)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[tenants", "tenants.toml"),
        ("tenant = 1", "tenant: is not known; known are limits, tenants, jwt"),
        ("tenants = 1", "tenants: must be a table"),
        ("tenants.a = 1", "tenants.a: must be a table"),
        ('[tenants."a:b"]', "tenants.a:b: a name is up to 64 letters"),
        ("[tenants.a]\ntoken = 'x'", "tenants.a.token: is not known"),
        (f"[tenants.a]\ntoken_sha256 = '{HASH}'", "tenants.a.token_sha256: must be a list"),
        ("[tenants.a]\ntoken_sha256 = ['secret']", "number 1 is not 64 small hexadecimal digits"),
        (f"[tenants.a]\ntoken_sha256 = ['{HASH}0']", "number 1 is not 64 small hexadecimal digits"),
        (
            f"tenants.a.token_sha256 = ['{HASH}', '{HASH}']",
            "tenants.a.token_sha256: number 2 is that of a too",
        ),
        (
            f"tenants.a.token_sha256 = ['{HASH}']\ntenants.b.token_sha256 = ['{HASH}']",
            "tenants.b.token_sha256: number 1 is that of a too",
        ),
        (
            "tenants.a.certificates = ['x']\ntenants.b.certificates = ['x']",
            "tenants.b.certificates: x is that of a too",
        ),
        ("[tenants.a]\ncertificates = ['']", "tenants.a.certificates: must be a list of texts"),
        ("[tenants.a]\nlimits = 1", "tenants.a.limits: must be a table"),
        ("[tenants.a.limits]\nimages = 1", "tenants.a.limits.images: is not known"),
        ("[limits]\nimages = 1", "limits.images: is not known"),
        ("[limits]\nimages_per_minute = -1", "limits.images_per_minute: must be an integer"),
        ("[limits]\nimages_per_minute = true", "limits.images_per_minute: must be an integer"),
        ("[jwt]\njwks = 'jwks.json'", "jwt.issuer: is missing"),
        ("jwt = 1", "jwt: must be a table"),
        (
            "[jwt]\njwks = 'j'\nissuer = 'i'\naudience = 'a'\nalgorithms = ['HS256']",
            "jwt.algorithms: must be some of RS256",
        ),
        (
            "[jwt]\njwks = 'j'\nissuer = 'i'\naudience = 'a'\nalgorithms = ['none']",
            "jwt.algorithms: must be some of RS256",
        ),
        (
            "[jwt]\njwks = 'j'\nissuer = 'i'\naudience = 'a'\nalgorithms = []",
            "jwt.algorithms: must be some of RS256",
        ),
        ("[jwt]\njwks = 'j'\nissuer = 1\naudience = 'a'", "jwt.issuer: must be a text"),
        (
            "[jwt]\njwks = 'j'\nissuer = 'i'\naudience = 'a'\ntenant_claim = 1",
            "jwt.tenant_claim: must be a text",
        ),
        ("[jwt]\nleeway = 1", "jwt.leeway: is not known"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(
    tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        read_tenants(_file(tmp_path, content))
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("known_by", ["", "token_sha256 = []", "certificates = []"])
def test_tenants_whom_nobody_can_be_are_refused(tmp_path: Path, known_by: str) -> None:
    file = _file(tmp_path, f"[tenants.radiology]\n{known_by}\n")
    with pytest.raises(SettingsError, match=r"tenants: callers cannot be told apart; give tenants"):
        read_tenants(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_tenants(tmp_path / "tenants.toml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tenants.toml").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"tenants\.toml: "):
        read_tenants(tmp_path / "tenants.toml")


async def test_certificates_need_authorities(settings: Settings, tmp_path: Path) -> None:
    file = _file(tmp_path, "[tenants.a]\ncertificates = ['scanner.example.org']")
    with pytest.raises(SettingsError, match="--tls-client-ca is missing"):
        App(replace(settings, tenants=str(file)))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (None, "No such file"),
        ("no JSON", "jwks.json"),
        ("[]", "jwks.json"),
        (json.dumps({"keys": []}), "jwks.json"),
        (json.dumps({"keys": 1}), "jwks.json"),
        ("{}", "holds no key that can be used"),
        (json.dumps({"keys": [{"kty": "RSA"}]}), "holds no key that can be used"),
        (json.dumps({"keys": [SHARED_KEY]}), "a key that is not public"),
        (json.dumps({"keys": [PUBLIC_KEY, SHARED_KEY]}), "a key that is not public"),
        (json.dumps({"keys": [PRIVATE_KEY]}), "a key that is not public"),
    ],
)
async def test_a_wrong_key_set_is_refused(
    settings: Settings, tmp_path: Path, keys: str | None, message: str
) -> None:
    if keys is not None:
        (tmp_path / "jwks.json").write_text(keys)
    file = _file(tmp_path, "[jwt]\njwks = 'jwks.json'\nissuer = 'i'\naudience = 'a'")
    with pytest.raises(SettingsError) as raised:
        App(replace(settings, tenants=str(file)))
    assert message in str(raised.value)
    assert "c2VjcmV0" not in str(raised.value)
