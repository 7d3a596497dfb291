"""A whole Expound for tests: Redis, one worker and one server, each a process of its own."""

import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.processes import Process, RedisServer, free_port, wait_until

MODELS = Path(__file__).parent / "models" / "models.toml"


class Worker(Process):
    """A worker process."""

    def __init__(self, redis_url: str, models: Path = MODELS, kinds: str = "") -> None:
        command = [sys.executable, "-m", "expound_worker", "--redis-url", redis_url]
        options = ["--models", str(models), *(["--kinds", kinds] if kinds else [])]
        super().__init__([*command, *options], {"EXPOUND_HEARTBEAT_FILE": f"{models}.none"})


class Server(Process):
    """A server process."""

    def __init__(self, redis_url: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        command = [sys.executable, "-m", "expound_server", "--redis-url", redis_url]
        super().__init__([*command, "--host", "127.0.0.1", "--port", port])

    def serving(self) -> bool:
        """Whether its health says SERVING."""
        self.check_alive()
        with grpc.insecure_channel(self.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
            except grpc.RpcError:
                return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


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
        self.redis.start()
        self.worker.start()
        self.server.start()
        try:
            wait_until(self._ready, "the service being ready", 180)
        except BaseException:
            print(self.worker.output(), self.server.output())
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in (self.server, self.worker, self.redis):
            process.stop()

    def _ready(self) -> bool:
        self.worker.check_alive()
        return self.server.serving()
