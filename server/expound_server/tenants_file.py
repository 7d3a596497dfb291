"""Reads tenants.toml."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from expound_server.settings import SettingsError
from expound_server.tenants import (
    DEFAULT_TENANT,
    JwtRules,
    Limits,
    Tenant,
    Tenants,
    is_tenant_name,
)

_HASH = re.compile(r"[0-9a-f]{64}")
# Those with a public key alone: with a shared secret, who can check tokens can make them too.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")


def read_tenants(path: Path) -> Tenants:
    """Reads tenants.toml. Raises SettingsError, which says where it is wrong."""
    try:
        return _tenants(tomllib.loads(path.read_text()), path.parent)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, SettingsError) as error:
        raise SettingsError(f"tenants {path}: {error}") from None


def _tenants(content: dict[str, Any], folder: Path) -> Tenants:
    _check_keys("", content, ("limits", "tenants", "jwt"))
    limits = _limits("limits", _table("limits", content), Limits())
    tenants: dict[str, Tenant] = {}
    token_hashes: dict[str, str] = {}
    certificates: dict[str, str] = {}
    for name, entry in _table("tenants", content).items():
        where = f"tenants.{name}"
        _check_entry(where, name, entry)
        own = _limits(f"{where}.limits", _table("limits", entry, where), limits)
        tenants[name] = Tenant(name, own)
        for token_hash, named in _token_hashes(where, entry):
            _claim(token_hashes, token_hash, name, named)
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


def _check_entry(where: str, name: str, entry: object) -> None:
    if not is_tenant_name(name):
        raise SettingsError(f"{where}: a name is up to 64 letters, digits, dots, _ and -")
    if not isinstance(entry, dict):
        raise SettingsError(f"{where}: must be a table")
    _check_keys(where, entry, ("token_sha256", "certificates", "limits"))


def _token_hashes(where: str, entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The hashes of a tenant's tokens, and how errors name each: not by itself."""
    for number, token_hash in enumerate(_texts(where, entry, "token_sha256"), start=1):
        named = f"{where}.token_sha256: number {number}"
        if not _HASH.fullmatch(token_hash):
            # It may be the token itself.
            raise SettingsError(f"{named} is not 64 small hexadecimal digits")
        yield token_hash, named


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
        if not written["algorithms"] or not set(written["algorithms"]) <= set(_ALGORITHMS):
            raise SettingsError(f"jwt.algorithms: must be some of {', '.join(_ALGORITHMS)}")
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
