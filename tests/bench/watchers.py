"""Ten thousand watchers on one server."""

import asyncio
from typing import Any

import grpc
import redis

from expound.records import DOORBELL
from expound.v1.explanation_service_pb2 import WatchExplanationRequest
from expound.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from expound_client import Client
from tests.bench.table import Row, Table
from tests.processes import RedisServer, resident_bytes, wait_until
from tests.server.hand_worker import HandWorker, model
from tests.service import Server, Service

WATCHERS = 10_000
CHANNELS = 100
EXPLANATIONS = 100
_AT_ONCE = 1000
_WORKING_S = 600


def run(service: Service) -> list[Table]:
    """Memory and Redis subscriptions of a server of its own while so many watch work that waits."""
    table = Table("watchers", f"{WATCHERS:,} watchers of {EXPLANATIONS} explanations")
    with RedisServer() as store, Server(store.url) as server:
        HandWorker(store.url).publish(model("tiny"), alive_ms=_WORKING_S * 1000)
        wait_until(server.serving, "the server")
        with Client(server.address) as client:
            names = [
                client.explain(bytes(4), model="tiny", methods=["saliency"]).name
                for _ in range(EXPLANATIONS)
            ]
        table.rows.append(asyncio.run(_watch(server, store, names)))
    return [table]


async def _watch(server: Server, store: RedisServer, names: list[str]) -> Row:
    before = resident_bytes(server.pid)
    # Channels of one process share a connection unless they are told not to.
    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(server.address, own) for _ in range(CHANNELS)]
    stubs = [ExplanationServiceStub(channel) for channel in channels]
    watches: list[Any] = []
    while len(watches) < WATCHERS:
        # Each of them has its first event before the next ones come.
        more = [
            stubs[number % CHANNELS].WatchExplanation(
                WatchExplanationRequest(name=names[number % EXPLANATIONS])
            )
            for number in range(_AT_ONCE)
        ]
        await asyncio.gather(*(watch.read() for watch in more))
        watches += more
    memory = resident_bytes(server.pid) - before
    with redis.Redis.from_url(store.url) as client:
        ((_, subscriptions),) = client.pubsub_numsub(DOORBELL)
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*(channel.close() for channel in channels))
    return {"KB a watcher": memory / WATCHERS / 1024, "Redis subscriptions": int(subscriptions)}
