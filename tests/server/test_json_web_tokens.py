"""JSON Web Tokens: believed only when everything about them is right."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from expound.reasons import Reason
from expound.v1.explanation_service_pb2 import GetExplanationRequest
from expound_server.errors import Unauthenticated
from expound_server.json_web_tokens import JsonWebTokens
from expound_server.settings import Settings
from expound_server.tenants import JwtRules
from tests.server.calls import explain_request, refusal
from tests.server.conftest import Server
from tests.server.hand_worker import HandWorker
from tests.server.tenants import RADIOLOGY, bearer, serving, two_tenants

ISSUER, AUDIENCE = "https://issuer.example.org", "expound"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
LARGER_EC_KEY = ec.generate_private_key(ec.SECP384R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
RULES = f"""
    [jwt]
    jwks = "jwks.json"
    issuer = "{ISSUER}"
    audience = "{AUDIENCE}"
"""


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good token; None takes one out."""
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": int(time.time()) + 300,
        "tenant": "radiology",
        **changes,
    }
    return {name: value for name, value in good.items() if value is not None}


def token(
    key: Any = RSA_KEY, algorithm: str = "RS256", kid: str | None = "first", **changes: Any
) -> str:
    """Signs a token."""
    headers = {"kid": kid} if kid else {}
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


def public_pem() -> str:
    pem: bytes = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode()


def part(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def headed(header: dict[str, Any]) -> str:
    """A token of that header, with a signature of nothing."""
    return b".".join(map(part, (json.dumps(header).encode(), b"{}", b"\0\0\0"))).decode()


def confused() -> str:
    """A token signed with the public key as if it were a shared secret."""
    header = part(json.dumps({"alg": "HS256", "kid": "first", "typ": "JWT"}).encode())
    signed = header + b"." + part(json.dumps(claims()).encode())
    signature = hmac.digest(public_pem().encode(), signed, hashlib.sha256)
    return (signed + b"." + part(signature)).decode()


def altered() -> str:
    """A token whose claims were changed after it was signed."""
    return f"{token(tenant='cardiology').rpartition('.')[0]}.{token().rpartition('.')[2]}"


@pytest_asyncio.fixture
async def server(settings: Settings, worker: HandWorker, tmp_path: Path) -> AsyncIterator[Server]:
    keys = [
        {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "first"},
        {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "second"},
    ]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": keys}))
    async with serving(settings, tmp_path, two_tenants() + RULES) as server:
        yield server


@pytest.mark.parametrize(
    "make",
    [
        token,
        lambda: token(EC_KEY, "ES256", "second"),
        lambda: token(aud=["others", AUDIENCE]),
        # Clocks differ a little.
        lambda: token(exp=int(time.time()) - 5),
    ],
)
async def test_a_good_token_gets_in(server: Server, make: Callable[[], str]) -> None:
    answer = await server.explanations.Explain(explain_request(), metadata=bearer(make()))
    # The tenant is the one whose static token this is.
    request = GetExplanationRequest(name=answer.name)
    assert await server.explanations.GetExplanation(request, metadata=bearer(RADIOLOGY))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: token(exp=int(time.time()) - 3600), "has expired"),
        (lambda: token(nbf=int(time.time()) + 3600), "is not valid yet"),
        (lambda: token(aud="another"), "is for another audience"),
        (lambda: token(aud=None), "lacks a claim"),
        (lambda: token(iss="https://elsewhere.example.org"), "is of another issuer"),
        (lambda: token(iss=None), "lacks a claim"),
        (lambda: token(exp=None), "lacks a claim"),
        (lambda: token(OTHER_KEY), "signature is wrong"),
        (lambda: token(kid="unknown"), "signed with a key that is not known"),
        (lambda: token(kid=None), "signed with a key that is not known"),
        (lambda: token(algorithm="RS512"), "an algorithm that is not allowed"),
        (lambda: token("", "none"), "an algorithm that is not allowed"),
        (confused, "an algorithm that is not allowed"),
        (lambda: token(tenant=None), "'tenant' names no tenant"),
        (lambda: token(tenant="a:b"), "'tenant' names no tenant"),
        (lambda: token(tenant=7), "'tenant' names no tenant"),
        (altered, "signature is wrong"),
        (lambda: "a.b.c", "is not one that is known"),
        (lambda: "eyJhbGciOiJSUzI1NiIsImtpZCI6eyJhIjoxfX0.e30.AAAA", "not"),
        (lambda: "x" * 6000, "is not one that is known"),
    ],
)
async def test_a_bad_token_is_refused_with_the_reason(
    server: Server, make: Callable[[], str], message: str
) -> None:
    bad = make()
    refused = await refusal(server.explanations.Explain(explain_request(), metadata=bearer(bad)))
    assert refused.reason == Reason.UNAUTHENTICATED
    assert message in refused.message
    assert bad not in refused.message


def test_a_token_may_leave_out_its_key_where_there_is_one_but_name_no_other(
    tmp_path: Path,
) -> None:
    key = {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "first"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [key]}))
    tokens = JsonWebTokens(JwtRules(tmp_path / "jwks.json", ISSUER, AUDIENCE))
    assert tokens.tenant(token(kid=None)) == tokens.tenant(token()) == "radiology"
    with pytest.raises(Unauthenticated, match="a key that is not known"):
        tokens.tenant(token(kid="second"))


def test_a_token_without_a_key_is_refused_where_there_are_several(tmp_path: Path) -> None:
    nameless = RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)
    named = {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "second"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [nameless, named]}))
    tokens = JsonWebTokens(JwtRules(tmp_path / "jwks.json", ISSUER, AUDIENCE))
    assert tokens.tenant(token(EC_KEY, "ES256", "second")) == "radiology"
    with pytest.raises(Unauthenticated, match="a key that is not known"):
        tokens.tenant(token(kid=None))


def test_no_algorithm_is_allowed_but_those_of_the_rules(tmp_path: Path) -> None:
    keys = [
        {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "first"},
        {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "second"},
    ]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": keys}))
    tokens = JsonWebTokens(JwtRules(tmp_path / "jwks.json", ISSUER, AUDIENCE, ("ES256",)))
    assert tokens.tenant(token(EC_KEY, "ES256", "second")) == "radiology"
    with pytest.raises(Unauthenticated, match="an algorithm that is not allowed"):
        tokens.tenant(token())


@pytest.fixture
def of_rules(tmp_path: Path) -> Callable[..., JsonWebTokens]:
    """Makes what checks tokens of two RSA keys, two EC keys and an Ed25519 key."""

    def make(*algorithms: str, **members: str) -> JsonWebTokens:
        """Of some algorithms; every key has the members besides."""
        rsa = RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)
        small = ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True)
        larger = ECAlgorithm.to_jwk(LARGER_EC_KEY.public_key(), as_dict=True)
        ed25519 = OKPAlgorithm.to_jwk(ED_KEY.public_key(), as_dict=True)
        named = {"first": rsa, "second": small, "third": larger, "fourth": ed25519}
        keys = [{**key, **members, "kid": name} for name, key in named.items()]
        (tmp_path / "jwks.json").write_text(json.dumps({"keys": keys}))
        return JsonWebTokens(JwtRules(tmp_path / "jwks.json", ISSUER, AUDIENCE, algorithms))

    return make


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        (RSA_KEY, "RS256", "first"),
        (RSA_KEY, "RS384", "first"),
        (RSA_KEY, "RS512", "first"),
        (RSA_KEY, "PS256", "first"),
        (RSA_KEY, "PS512", "first"),
        (EC_KEY, "ES256", "second"),
        (LARGER_EC_KEY, "ES384", "third"),
        (ED_KEY, "EdDSA", "fourth"),
    ],
)
def test_a_key_that_names_no_algorithm_is_one_of_each_that_is_allowed_and_fits_it(
    of_rules: Callable[..., JsonWebTokens], key: Any, algorithm: str, kid: str
) -> None:
    good = token(key, algorithm, kid)
    assert of_rules(algorithm).tenant(good) == "radiology"
    assert of_rules("RS384", "ES256", algorithm).tenant(good) == "radiology"
    with pytest.raises(Unauthenticated, match="signature is wrong"):
        of_rules(algorithm).tenant(f"{good.rpartition('.')[0]}.{'A' * 86}")


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "PS512"])
def test_a_key_of_an_algorithm_is_one_of_no_other(
    of_rules: Callable[..., JsonWebTokens], algorithm: str
) -> None:
    tokens = of_rules("RS256", "RS384", "RS512", "PS512", alg="RS512")
    assert tokens.tenant(token(algorithm="RS512")) == "radiology"
    with pytest.raises(Unauthenticated, match="an algorithm that is not allowed"):
        tokens.tenant(token(algorithm=algorithm))


@pytest.mark.parametrize(
    "bad",
    [
        token(algorithm="RS256"),
        token("", "none"),
        confused(),
        headed({"alg": ["RS512"], "kid": "first"}),
        headed({"kid": "first"}),
    ],
)
def test_a_key_that_names_no_algorithm_is_one_of_no_other(
    of_rules: Callable[..., JsonWebTokens], bad: str
) -> None:
    with pytest.raises(Unauthenticated, match="an algorithm that is not allowed"):
        of_rules("RS512", "ES256").tenant(bad)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        (EC_KEY, "ES256", "first"),
        (RSA_KEY, "RS512", "second"),
        (RSA_KEY, "RS512", "fourth"),
        (ED_KEY, "EdDSA", "first"),
        (EC_KEY, "ES256", "fourth"),
        # Of another curve.
        (EC_KEY, "ES256", "third"),
    ],
)
def test_an_algorithm_that_is_allowed_is_refused_for_a_key_of_another_kind(
    of_rules: Callable[..., JsonWebTokens], key: Any, algorithm: str, kid: str
) -> None:
    tokens = of_rules("RS512", "ES256", "ES384", "EdDSA")
    with pytest.raises(Unauthenticated, match="an algorithm that is none of its key"):
        tokens.tenant(token(key, algorithm, kid))


def test_keys_that_cannot_be_used_are_passed_over(tmp_path: Path) -> None:
    key = RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)
    keys = [{"kty": "OKP", "crv": "X25519", "x": "AA"}, {}, "no key", key]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": keys}))
    tokens = JsonWebTokens(JwtRules(tmp_path / "jwks.json", ISSUER, AUDIENCE))
    assert tokens.tenant(token(kid=None)) == "radiology"
