"""A whole Expound for tests: Redis, one worker and one server, each a process of its own."""

import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.processes import Process, RedisServer, free_port, wait_until

MODELS = Path(__file__).parent / "models" / "models.toml"


class Worker(Process):
    """A worker process."""

    def __init__(self, redis_url: str, models: Path = MODELS, kinds: str = "") -> None:
        command = [sys.executable, "-m", "expound_worker", "--redis-url", redis_url]
        options = ["--models", str(models), *(["--kinds", kinds] if kinds else [])]
        super().__init__([*command, *options])


class Server(Process):
    """A server process."""

    def __init__(
        self, redis_url: str, max_reuse_age_s: float = 0.0, max_message_bytes: int = 2**26
    ) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        command = [sys.executable, "-m", "expound_server", "--redis-url", redis_url]
        # Tests ask the same again and again, and mean it.
        never = ["--max-reuse-age-s", str(max_reuse_age_s)]
        limit = ["--max-message-bytes", str(max_message_bytes)]
        super().__init__([*command, "--host", "127.0.0.1", "--port", port, *never, *limit])

    def serving(self) -> bool:
        """Whether its health says SERVING."""
        self.check_alive()
        with grpc.insecure_channel(self.address) as channel:
            # The types of this package know no methods of its stub.
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class Service:
    """Everything that one Expound needs, started together."""

    def __init__(self, models: Path = MODELS) -> None:
        self.redis = RedisServer()
        self.worker = Worker(self.redis.url, models)
        self.server = Server(self.redis.url)

    @property
    def address(self) -> str:
        """HOST:PORT of the server."""
        return self.server.address

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for process in (self.redis, self.worker, self.server):
                starting.enter_context(process)
            wait_until(self._ready, "the service being ready", 180)
            self._started = starting.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._started.close()

    def _ready(self) -> bool:
        self.worker.check_alive()
        return self.server.serving()
