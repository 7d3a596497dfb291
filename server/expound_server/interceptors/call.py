"""An interceptor that runs something around every call."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeAlias

import grpc
from grpc.aio import ServerInterceptor, ServicerContext

Context: TypeAlias = ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

# The services next to ours, health and reflection, are probed all the time and left alone.
OURS = "/expound.v1."


class CallInterceptor(ServerInterceptor):
    """Runs every call of our services, unary or streaming, inside a context manager."""

    @abstractmethod
    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[None]:
        """What runs around a call of the method."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Wraps the handler of a call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OURS):
            return handler
        codec = (handler.request_deserializer, handler.response_serializer)
        if handler.request_streaming:
            stream = self._stream(method, handler.stream_stream)
            return grpc.stream_stream_rpc_method_handler(stream, *codec)
        if handler.response_streaming:
            stream = self._stream(method, handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(stream, *codec)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler), *codec)

    def _unary(self, method: str, handler: Handler) -> Callable[[Any, Context], Awaitable[Any]]:
        answer: Any = handler.unary_unary

        async def call(request: Any, context: Context) -> Any:
            async with self.around(method, context):
                return await answer(request, context)

        return call

    def _stream(self, method: str, answer: Any) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def call(request: Any, context: Context) -> AsyncGenerator[Any, None]:
            async with self.around(method, context), aclosing(answer(request, context)) as events:
                async for event in events:
                    yield event

        return call
