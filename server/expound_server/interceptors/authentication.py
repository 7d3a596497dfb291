"""Who calls: no call of our services gets through without."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from expound_server.authentication import Authenticator
from expound_server.interceptors.call import CallInterceptor, Context
from expound_server.tenants import Tenant

caller: ContextVar[Tenant] = ContextVar("caller")
"""The tenant whose call is under way."""

# In the order in which they are looked at.
_NAMES = ("x509_subject_alternative_name", "x509_common_name")


class AuthenticationInterceptor(CallInterceptor):
    """Finds out which tenant calls, from its credentials and never from the message."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """Sets `caller`. Raises Unauthenticated."""
        caller.set(self._authenticator.tenant(_authorization(context), _certificate_names(context)))
        yield


def _authorization(context: Context) -> list[str]:
    metadata = context.invocation_metadata() or ()
    return [str(value) for key, value in metadata if key == "authorization"]


def _certificate_names(context: Context) -> list[str]:
    peer = context.auth_context()
    return [name.decode(errors="replace") for kind in _NAMES for name in peer.get(kind, ())]
