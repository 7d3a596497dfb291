"""A real server in the process of the test, over a real Redis and a worker moved by hand."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from expound.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from expound.v1.model_service_pb2_grpc import ModelServiceStub
from expound_server.app import App
from expound_server.settings import Settings
from tests.server.hand_worker import HandWorker, model

if TYPE_CHECKING:
    from expound.v1.explanation_service_pb2_grpc import ExplanationServiceAsyncStub
    from expound.v1.model_service_pb2_grpc import ModelServiceAsyncStub


@dataclass(frozen=True)
class Server:
    """A running server and what is needed to call it."""

    app: App
    address: str
    channel: grpc.aio.Channel
    explanations: "ExplanationServiceAsyncStub"
    models: "ModelServiceAsyncStub"


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Server]:
    """Runs a server while the block runs."""
    app = App(settings)
    port = await app.start()
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    address = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(address, options=unlimited) as channel:
        explanations, models = ExplanationServiceStub(channel), ModelServiceStub(channel)
        yield Server(app, address, channel, explanations, models)
    await app.stop()


@pytest.fixture
def worker(redis_url: str) -> Iterator[HandWorker]:
    """A worker with the models `tiny`, `flat` (no spatial layer) and `slow` (another pool)."""
    worker = HandWorker(redis_url)
    worker.publish(model("tiny"), model("flat", layers=False), model("slow", pool="slow"))
    yield worker
    worker.redis.close()


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings of the server under test; it reuses nothing, as tests ask the same again."""
    return Settings(
        redis_url=redis_url,
        port=0,
        grace_s=2,
        max_message_bytes=4 * 1024 * 1024,
        max_reuse_age_s=0,
    )


@pytest_asyncio.fixture
async def server(settings: Settings, worker: HandWorker) -> AsyncIterator[Server]:
    """A running server."""
    async with running(settings) as server:
        yield server
