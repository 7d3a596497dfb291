"""Ten thousand watchers on one server."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import redis

from expound.v1.explanation_service_pb2 import WatchExplanationRequest
from expound.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from expound_client import Client
from tests.bench.table import Table, columns
from tests.processes import RedisServer, resident_bytes, wait_until
from tests.server.hand_worker import HandWorker, model
from tests.service import Server, Service

WATCHERS = 10_000
CHANNELS = 100
EXPLANATIONS = 100
ROUNDS = 3
_AT_ONCE = 1000
_WORKING_S = 600


def run(service: Service, watchers: int = WATCHERS) -> list[Table]:
    """What a server of its own takes while so many watch work that waits; a new one each round."""
    table = Table("watchers", f"{watchers:,} watchers of {EXPLANATIONS} explanations")
    measured = [_round(watchers) for _ in range(ROUNDS)]
    table.rows.append(
        {
            "watchers": watchers,
            **columns("memory a watcher", "KB", [size / 1024 for size, _ in measured]),
            "subscription connections": max(connections for _, connections in measured),
        }
    )
    return [table]


def _round(watchers: int) -> tuple[float, int]:
    """Bytes a watcher, and the server's connections to Redis that subscribe."""
    with RedisServer() as store, Server(store.url) as server:
        HandWorker(store.url).publish(model("tiny"), alive_ms=_WORKING_S * 1000)
        wait_until(server.serving, "the server")
        with Client(server.address) as client:
            names = [
                client.explain(bytes(4), model="tiny", methods=["saliency"]).name
                for _ in range(EXPLANATIONS)
            ]
        return asyncio.run(_watch(server, store, names, watchers))


async def _watch(
    server: Server, store: RedisServer, names: list[str], watchers: int
) -> tuple[float, int]:
    before = resident_bytes(server.pid)
    # Channels of one process share a connection unless they are told not to.
    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(server.address, own) for _ in range(CHANNELS)]
    stubs = [ExplanationServiceStub(channel) for channel in channels]
    watches: list[Any] = []
    while len(watches) < watchers:
        # Each of them has its first event before the next ones come.
        more = [
            stubs[number % CHANNELS].WatchExplanation(
                WatchExplanationRequest(name=names[number % EXPLANATIONS])
            )
            for number in range(min(_AT_ONCE, watchers - len(watches)))
        ]
        await asyncio.gather(*(watch.read() for watch in more))
        watches += more
    memory = resident_bytes(server.pid) - before
    connections = _subscription_connections(server, store)
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*(channel.close() for channel in channels))
    return memory / watchers, connections


def _subscription_connections(server: Server, store: RedisServer) -> int:
    """How many of the server's connections to Redis are in subscriber mode."""
    ports = _ports(server.pid)
    with redis.Redis.from_url(store.url) as client:
        return sum(
            int(each["addr"].rpartition(":")[2]) in ports
            for each in client.client_list()
            if int(each["sub"]) or int(each["psub"])
        )


def _ports(process: int) -> set[int]:
    """Its own ends of its TCP connections over IPv4."""
    sockets = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(os.readlink(descriptor))
    lines = Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]
    connections = [line.split() for line in lines]
    return {
        int(fields[1].rpartition(":")[2], 16)
        for fields in connections
        if f"socket:[{fields[9]}]" in sockets
    }
