"""The one place that decides on status codes."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from expound.reasons import Reason, status
from expound_server.errors import CallError
from expound_server.interceptors.call import CallInterceptor, Context
from expound_server.interceptors.logging import call_id

_log = logging.getLogger(__name__)

_REDIS_RETRY_S = 1
_REDIS_FULL_RETRY_S = 10


class ErrorInterceptor(CallInterceptor):
    """Answers every error with the status of its reason, and unknown ones without any detail."""

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        """Turns what a call raises into its status."""
        try:
            yield
        except grpc.aio.AbortError:
            raise
        except CallError as error:
            await _abort(context, _call_status(error))
        except (RedisConnectionError, RedisTimeoutError) as error:
            _log.warning("%s Redis does not answer: %s", call_id.get(), error)
            await _abort(context, _redis_status())
        except Exception as error:
            if _says(error, "used memory > 'maxmemory'"):
                _log.warning("%s Redis is full: %s", call_id.get(), error)
                await _abort(context, _redis_full_status())
            elif _says(error, "MISCONF", "read only replica"):
                _log.warning("%s Redis takes no writes: %s", call_id.get(), error)
                await _abort(context, _redis_status())
            else:
                _log.exception("%s failed", call_id.get())
                await _abort(context, _unknown_status())


def _call_status(error: CallError) -> status_pb2.Status:
    return status(
        error.reason,
        error.message,
        metadata=error.metadata,
        violations=[(violation.field, violation.description) for violation in error.violations],
        retry_after_s=error.retry_after_s,
        quota=error.quota,
    )


def _redis_status() -> status_pb2.Status:
    return status(
        Reason.REDIS_UNAVAILABLE,
        "the store of explanations does not answer; try again",
        retry_after_s=_REDIS_RETRY_S,
    )


def _says(error: Exception, *words: str) -> bool:
    """Whether Redis says one of these; Redis 6 has no code for what goes wrong in a script."""
    return isinstance(error, ResponseError) and any(each in str(error) for each in words)


def _redis_full_status() -> status_pb2.Status:
    return status(
        Reason.REDIS_FULL,
        "the store of explanations is full; try again when some have expired",
        retry_after_s=_REDIS_FULL_RETRY_S,
    )


def _unknown_status() -> status_pb2.Status:
    number = call_id.get()
    return status(
        Reason.INTERNAL,
        f"an error inside the server; its log has it under {number}",
        metadata={"id": number},
    )


async def _abort(context: Context, answer: status_pb2.Status) -> None:
    await context.abort_with_status(rpc_status.to_status(answer))
