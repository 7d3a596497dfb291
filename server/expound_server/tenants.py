"""Who may call, by what they are known, and how much each may ask for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_TENANT = "default"
"""The tenant of all callers where none are told apart."""

# Names are parts of keys in Redis, between colons.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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
