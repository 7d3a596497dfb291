"""One line in the log for every call."""

import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import grpc

from expound_server.interceptors.call import CallInterceptor, Context

_log = logging.getLogger(__name__)

call_id: ContextVar[str] = ContextVar("call_id", default="-")
"""Id of the call under way, the same in all of its log lines."""


class LoggingInterceptor(CallInterceptor):
    """Logs id, method, status code and milliseconds of every call; never what it carries."""

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """Takes the time of a call."""
        call_id.set(secrets.token_hex(8))
        began_s = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        try:
            yield
            code = grpc.StatusCode.OK
        except grpc.aio.AbortError:
            code = context.code()
            raise
        finally:
            elapsed_ms = (time.perf_counter() - began_s) * 1000
            _log.info("%s %s %s %.1f ms", call_id.get(), method, code.name, elapsed_ms)
