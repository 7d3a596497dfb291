"""The client for asyncio: the blocking one's twin, call for call."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Literal, Self

import grpc

from expound.v1 import explanation_pb2
from expound_client import requests
from expound_client.aio_calls import AsyncCalls
from expound_client.channel import open_aio_channel
from expound_client.errors import DeadlineExceededError
from expound_client.events import Event
from expound_client.explanation import Handle
from expound_client.inputs import ImageLike
from expound_client.models import Model
from expound_client.requests import DEFAULT_ADDRESS, DEFAULT_CALL_TIMEOUT_S, MethodLike
from expound_client.results import ExplanationResult
from expound_client.security import FilePath, Token, channel_credentials
from expound_client.targets import Target
from expound_client.time_limit import TimeLimit


class AsyncExplanation(Handle):
    """An explanation that was asked for; made by `AsyncClient.explain` and `AsyncClient.get`."""

    def __init__(
        self,
        calls: AsyncCalls,
        answer: explanation_pb2.Explanation,
        sources: Sequence[explanation_pb2.Input] = (),
    ) -> None:
        super().__init__(answer, sources)
        self._calls = calls

    async def watch(
        self, after_sequence: int = 0, *, timeout_s: float | None = None, values: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Yields its events as they happen; see `Explanation.watch`."""
        limit = TimeLimit(timeout_s)
        card = await self._calls.card(self.model, limit)
        watch = self._open_watch(card, after_sequence, limit=limit, values=values)
        async with aclosing(self._calls.watch(watch)) as events:
            async for event in events:
                yield self._notice(event)

    async def result(
        self, timeout_s: float | None = None, *, partial: bool = False
    ) -> ExplanationResult:
        """Waits for its end, and gives what it holds; see `Explanation.result`."""
        limit = TimeLimit(timeout_s)
        if not self._is_whole():
            try:
                async for _ in self.watch(timeout_s=timeout_s):
                    pass
                self._renew(await self._calls.fetch(self.name, limit))
            except DeadlineExceededError:
                if not partial:
                    raise
                limit = TimeLimit(self._calls.timeout_s)
                self._renew(await self._calls.fetch(self.name, limit))
        card = await self._calls.card(self.model, limit, self._model_version)
        return self._conclude(card, partial=partial)

    async def cancel(self) -> None:
        """Ends what is not done; see `Explanation.cancel`."""
        self._renew(await self._calls.cancel(self.name))

    async def delete(self) -> None:
        """Deletes it with all its data; work under way for it stops."""
        await self._calls.delete(self.name)


class AsyncClient:
    """A connection to Expound for asyncio, for use in an `async with` block; see `Client`."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tls: bool | None = None,
        ca: FilePath | None = None,
        cert: FilePath | None = None,
        key: FilePath | None = None,
        token: Token | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float = DEFAULT_CALL_TIMEOUT_S,
    ) -> None:
        """Makes a client, within a running event loop; see `Client` for the arguments."""
        secured = channel_credentials(credentials, tls=tls, ca=ca, cert=cert, key=key, token=token)
        self._channel = open_aio_channel(address, secured)
        self._calls = AsyncCalls(self._channel, timeout_s, token)

    async def explain(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        model: str,
        methods: MethodLike | Sequence[MethodLike],
        target: Target = "top1",
        seed: int = 0,
        wait_s: float | None = None,
        timeout_s: float | None = None,
        ttl_s: float | None = None,
        request_id: str | None = None,
        fresh: bool = False,
        deterministic: bool = False,
        values_dtype: Literal["float32", "float16"] = "float32",
        channels: Literal["keep", "sum"] = "keep",
        encoding: Literal["tensor", "png"] = "tensor",
    ) -> AsyncExplanation:
        """Asks for explanations of one or more images; see `Client.explain`."""
        request = requests.explain_request(
            images,
            model=model,
            methods=methods,
            target=target,
            seed=seed,
            wait_s=wait_s,
            timeout_s=timeout_s,
            ttl_s=ttl_s,
            request_id=request_id,
            fresh=fresh,
            deterministic=deterministic,
            values_dtype=values_dtype,
            channels=channels,
            encoding=encoding,
        )
        return AsyncExplanation(self._calls, await self._calls.explain(request), request.inputs)

    async def get(self, name: str) -> AsyncExplanation:
        """Gives the handle of an explanation by its name; see `Client.get`."""
        return AsyncExplanation(self._calls, await self._calls.get(name))

    async def list(self) -> AsyncIterator[AsyncExplanation]:
        """Yields the handles of all explanations, newest first."""
        async for answer in self._calls.list():
            yield AsyncExplanation(self._calls, answer)

    async def watch(
        self, name: str, after_sequence: int = 0, *, timeout_s: float | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yields the events of an explanation; see `Explanation.watch`."""
        explanation = await self.get(name)
        async with aclosing(explanation.watch(after_sequence, timeout_s=timeout_s)) as events:
            async for event in events:
                yield event

    async def models(self) -> tuple[Model, ...]:
        """Gives the cards of all models by name, without labels and layers."""
        return tuple([model async for model in self._calls.models()])

    async def model(self, name: str) -> Model:
        """Gives the card of a model; see `Client.model`."""
        return await self._calls.model(name)

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
