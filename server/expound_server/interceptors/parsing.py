"""Reads the bytes of a request where errors are answered with the status of their reason."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import ServerInterceptor

from expound_server.errors import MalformedRequest
from expound_server.interceptors.call import OURS, Context, Handler


class ParsingInterceptor(ServerInterceptor):
    """Parses requests of our services itself, as the innermost of all interceptors.

    gRPC would answer bytes that are no message with UNKNOWN, before any interceptor sees the call.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Takes over the handler's deserializer."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OURS):
            return handler
        parse: Any = handler.request_deserializer
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _stream(handler.unary_stream, parse), None, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            _unary(handler.unary_unary, parse), None, handler.response_serializer
        )


def _unary(answer: Any, parse: Any) -> Callable[[bytes, Context], Awaitable[Any]]:
    async def call(request: bytes, context: Context) -> Any:
        return await answer(_parsed(request, parse), context)

    return call


def _stream(answer: Any, parse: Any) -> Callable[[bytes, Context], AsyncIterator[Any]]:
    async def call(request: bytes, context: Context) -> AsyncGenerator[Any, None]:
        async with aclosing(answer(_parsed(request, parse), context)) as events:
            async for event in events:
                yield event

    return call


def _parsed(request: bytes, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(request)
    except DecodeError as error:
        raise MalformedRequest(str(error)) from error
