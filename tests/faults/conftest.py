"""A service of its own for the fault suite, and clients of it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from expound import records
from expound_client import Client
from tests.faults.front import Front
from tests.processes import RedisServer, wait_until
from tests.service import Server, Worker

MODELS = Path(__file__).parent / "models" / "models.toml"


class Fleet:
    """One Redis, one server, and as many workers as a test starts."""

    def __init__(self, running: ExitStack) -> None:
        self._running = running
        self.redis = RedisServer()
        self.server = Server(self.redis.url)
        running.enter_context(self.redis)
        running.enter_context(self.server)
        self.workers: list[Worker] = []

    def add_worker(self, models: Path = MODELS) -> Worker:
        """Starts a worker, and waits until it is known."""
        worker = Worker(self.redis.url, models)
        known = self._known()
        self._running.enter_context(worker)
        self.workers.append(worker)
        wait_until(lambda: bool(self._known() - known), "the worker being known", 120)
        wait_until(self.server.serving, "the service being ready", 30)
        return worker

    def one_worker(self) -> Worker:
        """The worker that a test before it has left, or else a new one."""
        while len(self.workers) > 1:
            self.workers.pop().kill()
        return self.workers[0] if self.workers else self.add_worker()

    def store(self) -> redis.Redis:
        """A client of its Redis."""
        return redis.Redis.from_url(self.redis.url)

    def _known(self) -> set[bytes]:
        for worker in self.workers:
            worker.check_alive()
        with self.store() as client:
            return set(client.zrange(f"{records.PREFIX}workers", 0, -1))


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Redis and a server; the workers are the tests' own."""
    with ExitStack() as running:
        yield Fleet(running)


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    """A client of the fleet."""
    with Client(fleet.server.address) as connected:
        yield connected


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Front, str]]:
    """Redis and one server, and its address, for the tests that need no torch."""
    with Front() as front:
        _, address = front.add_server()
        yield front, address


@pytest.fixture
def front(running: tuple[Front, str]) -> Front:
    """Redis without explanations, and a server."""
    running[0].clear()
    return running[0]
