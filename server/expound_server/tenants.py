"""Who may call, by what they are known, and how much each may ask for: tenants.toml."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from expound_server.settings import SettingsError

DEFAULT_TENANT = "default"
"""The tenant of all callers where none are told apart."""

# Names are parts of keys in Redis, between colons.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
# Those with a public key alone: with a shared secret, who can check tokens can make them too.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")


@dataclass(frozen=True)
class Limits:
    """How much one tenant may ask for; 0 for as much as it likes.

    Attributes:
        requests_in_flight: accepted explanations that have not ended.
        images_per_minute: images of accepted requests.
        evaluations_per_request: forward passes of one image that a request may take.
        stored_bytes: requests, results and events that are kept for it; a request is refused when
            it does not fit beside them.
    """

    requests_in_flight: int = 0
    images_per_minute: int = 0
    evaluations_per_request: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True)
class Tenant:
    """A tenant: who sees an explanation, and whose quota it counts against."""

    name: str
    limits: Limits = Limits()


@dataclass(frozen=True)
class JwtRules:
    """Which JSON Web Tokens are believed.

    Attributes:
        jwks: file of the issuer's public keys (a JSON Web Key Set).
        issuer: what their `iss` must be.
        audience: what their `aud` must name.
        algorithms: with which they may be signed.
        tenant_claim: the claim that names the tenant.
    """

    jwks: Path
    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    tenant_claim: str = "tenant"


@dataclass(frozen=True)
class Tenants:
    """What tenants.toml says.

    Attributes:
        limits: of tenants that have none of their own.
        tenants: the tenants that are named, by name.
        token_hashes: SHA-256 of a bearer token, as hexadecimal digits, to the tenant's name.
        certificates: name in a client certificate to the tenant's name.
        jwt: which JSON Web Tokens are believed; None for none.
    """

    limits: Limits = Limits()
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    token_hashes: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificates: Mapping[str, str] = field(default_factory=dict)
    jwt: JwtRules | None = None

    @property
    def told_apart(self) -> bool:
        """Whether callers have to say who they are."""
        return bool(self.token_hashes or self.certificates or self.jwt)

    def tenant(self, name: str) -> Tenant:
        """The tenant of a name."""
        return self.tenants.get(name) or Tenant(name, self.limits)


def is_tenant_name(name: object) -> bool:
    """Whether a tenant can have this name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def read_tenants(path: Path) -> Tenants:
    """Reads tenants.toml. Raises SettingsError, which says where it is wrong."""
    try:
        return _tenants(tomllib.loads(path.read_text()), path.parent)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"tenants {path}: {error}") from None
    except SettingsError as error:
        raise SettingsError(f"tenants {path}: {error}") from None


def _tenants(content: dict[str, Any], folder: Path) -> Tenants:
    _check_keys("", content, ("limits", "tenants", "jwt"))
    limits = _limits("limits", _table("limits", content), Limits())
    tenants: dict[str, Tenant] = {}
    token_hashes: dict[str, str] = {}
    certificates: dict[str, str] = {}
    for name, entry in _table("tenants", content).items():
        where = f"tenants.{name}"
        if not is_tenant_name(name):
            raise SettingsError(f"{where}: a name is up to 64 letters, digits, dots, _ and -")
        if not isinstance(entry, dict):
            raise SettingsError(f"{where}: must be a table")
        _check_keys(where, entry, ("token_sha256", "certificates", "limits"))
        own = _limits(f"{where}.limits", _table("limits", entry, where), limits)
        tenants[name] = Tenant(name, own)
        for number, token_hash in enumerate(_texts(where, entry, "token_sha256"), start=1):
            if not _HASH.fullmatch(token_hash):
                # Not quoted: it may be the token itself.
                raise SettingsError(
                    f"{where}.token_sha256: number {number} is not 64 small hexadecimal digits"
                )
            _claim(token_hashes, token_hash, name, f"{where}.token_sha256: number {number}")
        for certificate in _texts(where, entry, "certificates"):
            _claim(certificates, certificate, name, f"{where}.certificates: {certificate}")
    jwt = _jwt(content["jwt"], folder) if "jwt" in content else None
    read = Tenants(limits, tenants, token_hashes, certificates, jwt)
    if set(tenants) - {DEFAULT_TENANT} and not read.told_apart:
        raise SettingsError(
            "tenants: callers cannot be told apart; give tenants token_sha256 or certificates, or "
            "add jwt"
        )
    return read


def _claim(owners: dict[str, str], known_by: str, name: str, where: str) -> None:
    if known_by in owners:
        raise SettingsError(f"{where} is that of {owners[known_by]} too")
    owners[known_by] = name


def _limits(where: str, written: dict[str, Any], otherwise: Limits) -> Limits:
    names = tuple(limit.name for limit in fields(Limits))
    _check_keys(where, written, names)
    for name, value in written.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise SettingsError(f"{where}.{name}: must be an integer, 0 for no limit")
    return Limits(**{name: written.get(name, getattr(otherwise, name)) for name in names})


def _jwt(written: object, folder: Path) -> JwtRules:
    if not isinstance(written, dict):
        raise SettingsError("jwt: must be a table")
    _check_keys("jwt", written, tuple(rule.name for rule in fields(JwtRules)))
    for name in ("jwks", "issuer", "audience"):
        if not written.get(name):
            raise SettingsError(f"jwt.{name}: is missing")
    for name in ("jwks", "issuer", "audience", "tenant_claim"):
        if not isinstance(written.get(name, ""), str):
            raise SettingsError(f"jwt.{name}: must be a text")
    if "algorithms" in written:
        written = {**written, "algorithms": tuple(_texts("jwt", written, "algorithms"))}
        if not written["algorithms"] or not set(written["algorithms"]) <= set(ALGORITHMS):
            raise SettingsError(f"jwt.algorithms: must be some of {', '.join(ALGORITHMS)}")
    return JwtRules(**{**written, "jwks": folder / written["jwks"]})


def _table(name: str, parent: dict[str, Any], where: str = "") -> dict[str, Any]:
    table = parent.get(name, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{where}.{name}: must be a table".removeprefix("."))
    return table


def _texts(where: str, entry: dict[str, Any], name: str) -> Iterator[str]:
    texts = entry.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise SettingsError(f"{where}.{name}: must be a list of texts")
    yield from texts


def _check_keys(where: str, written: dict[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(written) - set(known))
    if unknown:
        path = f"{where}.{unknown[0]}".removeprefix(".")
        raise SettingsError(f"{path}: is not known; known are {', '.join(known)}")
