"""JSON Web Tokens: who their issuer says the caller is."""

import json
from collections.abc import Mapping
from typing import Any

import jwt

from expound_server.errors import Unauthenticated
from expound_server.settings import SettingsError
from expound_server.tenants import JwtRules, is_tenant_name

# By so much the clocks of the issuer and of this machine may differ.
_LEEWAY_S = 30
# Told to callers in place of the library's messages, which quote the token's content.
_PROBLEMS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for another audience"),
    (jwt.InvalidIssuerError, "the token is of another issuer"),
    (jwt.MissingRequiredClaimError, "the token lacks a claim; needed are exp, aud and iss"),
    (jwt.InvalidAlgorithmError, "the token is signed with an algorithm that is not allowed"),
    (jwt.InvalidKeyError, "the token is signed with an algorithm that is none of its key"),
    (jwt.InvalidSignatureError, "the token's signature is wrong"),
)


class JsonWebTokens:
    """Checks tokens with the public keys of one issuer."""

    def __init__(self, rules: JwtRules) -> None:
        """Reads the keys. Raises SettingsError."""
        self._rules = rules
        try:
            content: dict[str, Any] = json.loads(rules.jwks.read_text())
            keys: list[dict[str, Any]] = content.get("keys", [])
            self._keys = [key for key in keys if _is_usable(key)]
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise SettingsError(f"JSON Web Key Set {rules.jwks}: {error}") from None
        if not self._keys:
            raise SettingsError(f"JSON Web Key Set {rules.jwks}: holds no key that can be used")
        if any(key["kty"] == "oct" or "d" in key for key in self._keys):
            raise SettingsError(f"JSON Web Key Set {rules.jwks}: holds a key that is not public")

    def tenant(self, token: str) -> str:
        """Name of the tenant in a token. Raises Unauthenticated."""
        try:
            claims = self._claims(token)
        except jwt.PyJWTError as error:
            known = (problem for kind, problem in _PROBLEMS if isinstance(error, kind))
            raise Unauthenticated(next(known, "the token is not one that is known")) from None
        name = claims.get(self._rules.tenant_claim)
        if not isinstance(name, str) or not is_tenant_name(name):
            raise Unauthenticated(f"the token's claim {self._rules.tenant_claim!r} names no tenant")
        return name

    def _claims(self, token: str) -> Mapping[str, Any]:
        header = jwt.get_unverified_header(token)
        key, algorithm = self._key(header.get("kid")), header.get("alg")
        if algorithm not in self._rules.algorithms:
            raise jwt.InvalidAlgorithmError
        claims: dict[str, Any] = jwt.decode(
            token,
            # A key that names no algorithm would be taken for one of RS256, or of its curve.
            jwt.PyJWK(key, key.get("alg") or algorithm),
            algorithms=[algorithm],
            audience=self._rules.audience,
            issuer=self._rules.issuer,
            leeway=_LEEWAY_S,
            options={"require": ["exp", "aud", "iss"]},
        )
        return claims

    def _key(self, key_id: str | None) -> dict[str, Any]:
        """The key that a token names, or the only one."""
        if key_id is None and len(self._keys) == 1:
            return self._keys[0]
        for key in self._keys:
            if key_id is not None and key.get("kid") == key_id:
                return key
        raise Unauthenticated("the token is signed with a key that is not known")


def _is_usable(key: Any) -> bool:
    """Whether the library can read a key."""
    try:
        jwt.PyJWK(key)
    except (AttributeError, jwt.PyJWTError):
        return False
    return True
