"""Redis, servers, and a worker of the test's own: nothing here needs torch."""

import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc

from expound import records, tasks
from expound.v1 import explanation_pb2
from tests.processes import Process, RedisServer
from tests.server.hand_worker import HandWorker, model
from tests.server.server_process import address_of, server_process

MODEL = "tiny"


class Hands(threading.Thread):
    """Works off all that waits, within a `with` block.

    Attributes:
        runs: how often it has begun each explanation.
    """

    def __init__(self, redis_url: str) -> None:
        super().__init__(daemon=True)
        self.runs: Counter[str] = Counter()
        self._worker = HandWorker(redis_url, "hands")
        self._stopping = threading.Event()

    def run(self) -> None:
        """Works until it is stopped, whether or not Redis is there."""
        while not self._stopping.is_set():
            try:
                self._take()
            except redis.RedisError:
                self._stopping.wait(0.1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self.join()
        self._worker.redis.close()

    def _take(self) -> None:
        queues = [tasks.queue_key(kind) for kind in (tasks.GRADIENT, tasks.PERTURBATION)]
        self._worker.redis.brpop(queues, timeout=0.1)
        ready = self._worker.run("claim_ready", "default", "hands", "", f"models/{MODEL}", 8)
        for explanation_id, attempt, *_ in ready:
            self.runs[explanation_id.decode()] += 1
            self._work_off(explanation_id.decode(), attempt)

    def _work_off(self, explanation_id: str, attempt: int) -> None:
        self._worker.predict(explanation_id, attempt)
        for unit in range(int(self._worker.record(explanation_id)[b"methods"])):
            claimed = self._worker.claim(explanation_id, unit)
            if claimed is not None:
                self._worker.succeed(explanation_id, unit, claimed)


class Front:
    """Redis and a card of the model `tiny`, within a `with` block; servers as the test starts them.

    Attributes:
        redis: the Redis server.
        worker: takes the steps that a test wants to take by hand.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.redis = RedisServer(folder)
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self._running.enter_context(self.redis)
        self.worker = HandWorker(self.redis.url)
        self._running.callback(self.worker.redis.close)
        self.worker.publish(model(MODEL), alive_ms=3_600_000)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()

    def add_server(self, *options: str, redis_port: int | None = None) -> tuple[Process, str]:
        """Starts a server, by way of another port than Redis' own if one is given.

        Gives it and its address.
        """
        url = f"redis://127.0.0.1:{redis_port}/0" if redis_port else self.redis.url
        process = self._running.enter_context(server_process(url, *options))
        return process, address_of(process)

    def clear(self) -> None:
        """Forgets all explanations."""
        self.worker.redis.flushall()
        self.worker.publish(model(MODEL), alive_ms=3_600_000)

    def explanations(self) -> list[str]:
        """Ids of all explanations there are."""
        found: list[bytes] = self.worker.redis.keys(records.events_key("*"))  # type: ignore[assignment]  # sync client
        return [key.decode().split(":")[2] for key in found]

    def watched(self) -> int:
        """How many servers listen for more than the ends of explanations."""
        (_, count), *_ = self.worker.redis.pubsub_numsub(records.DOORBELL_PROGRESS)
        return int(count)

    def state(self, explanation_id: str) -> str:
        """Name of an explanation's state."""
        state = int(self.worker.record(explanation_id)[b"state"])
        return explanation_pb2.State.Name(state).removeprefix("STATE_")  # type: ignore[arg-type]


def is_serving(address: str) -> bool:
    """Whether the health of a server says SERVING."""
    with grpc.insecure_channel(address) as channel:
        # The types of this package know no methods of its stub.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
