"""Who calls: no call of our services gets through without."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import grpc

from expound_server.authentication import Authenticator
from expound_server.errors import Unauthenticated
from expound_server.interceptors.call import OURS, CallInterceptor, Context, Handler
from expound_server.tenants import Tenant

caller: ContextVar[Tenant] = ContextVar("caller")
"""The tenant whose call is under way."""

# In the order in which they are looked at.
_NAMES = ("x509_subject_alternative_name", "x509_common_name")


class AuthenticationInterceptor(CallInterceptor):
    """Finds out which tenant calls, from its credentials and never from the message.

    Where a token is to tell, that is before the message is read: what strangers send takes no
    memory.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Lets only calls through that may be those of a tenant."""
        handler = await super().intercept_service(continuation, handler_call_details)
        if not handler_call_details.method.startswith(OURS):
            return handler
        try:
            self._authenticator.check(_authorization(handler_call_details.invocation_metadata))
        except Unauthenticated as error:
            return grpc.stream_stream_rpc_method_handler(_refusing(error))
        return handler

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """Sets `caller`. Raises Unauthenticated."""
        authorization = _authorization(context.invocation_metadata() or ())
        caller.set(self._authenticator.tenant(authorization, _certificate_names(context)))
        yield


def _refusing(error: Unauthenticated) -> Callable[[Any, Context], AsyncIterator[Any]]:
    """What answers a call with an error, and reads no message."""

    async def call(messages: Any, context: Context) -> AsyncGenerator[Any, None]:
        raise error
        yield

    return call


def _authorization(metadata: Iterable[tuple[str, str | bytes]]) -> list[str]:
    return [str(value) for key, value in metadata if key == "authorization"]


def _certificate_names(context: Context) -> list[str]:
    peer = context.auth_context()
    return [name.decode(errors="replace") for kind in _NAMES for name in peer.get(kind, ())]
