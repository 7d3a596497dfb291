"""Which tenant a caller is."""

import hashlib
import hmac
from collections.abc import Sequence

from expound_server.errors import Unauthenticated
from expound_server.json_web_tokens import JsonWebTokens
from expound_server.tenants import DEFAULT_TENANT, Tenant, Tenants

_SCHEME = "bearer "


class Authenticator:
    """Tells tenants apart by bearer token, else by client certificate."""

    def __init__(self, tenants: Tenants) -> None:
        """Reads the keys of JSON Web Tokens, where they are believed. Raises SettingsError."""
        self._tenants = tenants
        self._jwt = JsonWebTokens(tenants.jwt) if tenants.jwt else None

    def tenant(self, authorization: Sequence[str], certificate_names: Sequence[str]) -> Tenant:
        """The tenant of a call.

        Args:
            authorization: what came in the metadata ``authorization``.
            certificate_names: names in the client's certificate, which has been checked.

        Raises:
            Unauthenticated: it is none that is known.
        """
        if not self._tenants.told_apart:
            return self._tenants.tenant(DEFAULT_TENANT)
        if authorization:
            return self._tenants.tenant(self._of_token(_bearer_token(authorization)))
        return self._tenants.tenant(self._of_certificate(certificate_names))

    def check(self, authorization: Sequence[str]) -> None:
        """Raises Unauthenticated where no certificate can make up for what came."""
        if authorization or not self._tenants.certificates:
            self.tenant(authorization, ())

    def _of_token(self, token: str) -> str:
        presented = hashlib.sha256(token.encode()).hexdigest()
        found = None
        # All are compared, each in constant time, so that the time tells nothing about any.
        for known, name in self._tenants.token_hashes.items():
            if hmac.compare_digest(known, presented):
                found = name
        if found is not None:
            return found
        if self._jwt is None:
            raise Unauthenticated("the token is not one that is known")
        return self._jwt.tenant(token)

    def _of_certificate(self, names: Sequence[str]) -> str:
        for name in names:
            if name in self._tenants.certificates:
                return self._tenants.certificates[name]
        if names and self._tenants.certificates:
            raise Unauthenticated("the client certificate belongs to no tenant")
        raise Unauthenticated("who calls is not said; send a token: 'authorization: Bearer TOKEN'")


def _bearer_token(authorization: Sequence[str]) -> str:
    (first, *others) = authorization
    if others or not first.lower().startswith(_SCHEME) or not first[len(_SCHEME) :].strip():
        raise Unauthenticated("the metadata 'authorization' must be 'Bearer TOKEN', once")
    return first[len(_SCHEME) :].strip()
