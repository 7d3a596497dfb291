"""Redis behind Sentinel: the master is lost, and its replica takes its place."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from redis.exceptions import RedisError

from expound import records, tasks
from expound_client import Client, State
from expound_client import methods as m
from tests import photos
from tests.faults.conftest import MODELS
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.watcher import Watcher
from tests.processes import Process, RedisServer, free_port, redis_executable, wait_until
from tests.service import Server, Worker

PHOTO = photos.chelsea()
LIME = m.Lime(n_samples=1500)
PASSWORD = "p@ss:word"
QUOTED = "p%40ss%3Aword"


class Replicated:
    """A master with a password, its replica, and a sentinel that watches them."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.master, self.replica = (self._redis() for _ in range(2))
        self.replica.command += ["--replicaof", "127.0.0.1", str(self.master.port)]
        self.port = free_port()
        settings = folder / "sentinel.conf"
        settings.write_text(
            f"port {self.port}\n"
            "bind 127.0.0.1\n"
            f"sentinel monitor expound 127.0.0.1 {self.master.port} 1\n"
            f"sentinel auth-pass expound {PASSWORD}\n"
            "sentinel down-after-milliseconds expound 1000\n"
            "sentinel failover-timeout expound 5000\n"
        )
        running.enter_context(self.master)
        running.enter_context(self.replica)
        running.enter_context(Process([redis_executable(), str(settings), "--sentinel"]))
        wait_until(lambda: self.known("slaves") == 1, "the replica being known")

    @staticmethod
    def _redis() -> RedisServer:
        server = RedisServer(password=PASSWORD)
        server.command += ["--masterauth", PASSWORD]
        return server

    @property
    def url(self) -> str:
        return f"sentinel://:{QUOTED}@127.0.0.1:{self.port}/expound/0"

    def known(self, of: str) -> int:
        """What the sentinel says of the master."""
        try:
            with redis.Redis(port=self.port) as sentinel:
                return int(sentinel.sentinel_master("expound")[f"num-{of}"])
        except RedisError:
            return -1


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[Replicated]:
    with ExitStack() as running:
        yield Replicated(tmp_path, running)


@pytest.mark.long
def test_what_runs_goes_on_with_the_replica_when_the_master_is_lost(
    replicated: Replicated,
) -> None:
    with Server(replicated.url) as server, Worker(replicated.url, MODELS) as worker:
        wait_until(server.serving, "the service being ready", 120)
        with Client(server.address) as client, redis.Redis.from_url(replicated.replica.url) as copy:
            job = client.explain(PHOTO, model="slow", methods=["saliency", LIME], seed=5)
            watcher = Watcher(job)
            checkpoint = records.checkpoint_key(job.name.removeprefix("explanations/"), "1")
            wait_until(lambda: copy.exists(checkpoint) == 1, "a checkpoint on the replica")
            replicated.master.kill()
            assert job.result(120).state is State.SUCCEEDED
            watcher.join(60)
            check_events(watcher.events)
            wait_until(server.serving, "the service being ready again")
            again = client.explain(PHOTO, model="cifar", methods=["grad_cam", "lime"])
            assert again.result(60).state is State.SUCCEEDED
            worker.check_alive()
            queues = [tasks.queue_key(kind) for kind in (tasks.GRADIENT, tasks.PERTURBATION)]
            wait_until(lambda: not any(map(copy.llen, queues)), "the tickets being taken")
            check_nothing_left(copy)
