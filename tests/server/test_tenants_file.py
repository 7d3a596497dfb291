"""tenants.toml: what it says, and how it is refused."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from expound_server.app import App
from expound_server.settings import Settings, SettingsError
from expound_server.tenants import JwtRules, Limits, read_tenants
from tests.server.tenants import RADIOLOGY, token_hash, two_tenants

HASH = token_hash(RADIOLOGY)


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
    readme = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    tenants = read_tenants(_file(tmp_path, example))
    assert tenants.tenant("radiology").limits == Limits(100, 3000, 100_000, 2_000_000_000)
    assert tenants.jwt == JwtRules(
        tmp_path / "jwks.json", "https://issuer.example.org", "expound", ("RS256", "ES256")
    )


def test_the_readme_names_every_variable() -> None:
    readme = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
    for setting in fields(Settings):
        assert f"`{setting.metadata['variable']}`" in readme


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
        (
            f"tenants.a.token_sha256 = ['{HASH}']\ntenants.b.token_sha256 = ['{HASH}']",
            "tenants.b.token_sha256: number 1 is that of a too",
        ),
        (
            "tenants.a.certificates = ['x']\ntenants.b.certificates = ['x']",
            "tenants.b.certificates: x is that of a too",
        ),
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
        ("[jwt]\njwks = 'j'\nissuer = 1\naudience = 'a'", "jwt.issuer: must be a text"),
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
        (json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}), "a key that is not public"),
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
