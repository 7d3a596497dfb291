"""The standard health service: whether this server can have requests carried out."""

import asyncio
import logging
from collections.abc import Sequence

from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from redis.exceptions import RedisError

from expound import tasks
from expound_server.cancellation import check_cancelled
from expound_server.catalogue import Catalogue

_log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_KINDS = {tasks.GRADIENT, tasks.PERTURBATION}
LIVENESS = "liveness"
"""Service that is SERVING while the process is: a server is not to be restarted for Redis' sake."""


class Health:
    """SERVING while Redis answers and the live workers of some pool take both kinds of work.

    One pool that has them is enough: were all to have them, a pool that is rolled out, or whose
    workers are away, would stop the others.

    Attributes:
        servicer: the service to register.
    """

    def __init__(self, catalogue: Catalogue, services: Sequence[str]) -> None:
        self.servicer = health.aio.HealthServicer()
        self._catalogue = catalogue
        self._services = ("", *services)
        self._problem: str | None = "starting"

    async def update(self) -> None:
        """Looks once."""
        problem = await self._find_problem()
        if problem != self._problem:
            _log.info("health: %s", problem or "serving")
        self._problem = problem
        state = HealthCheckResponse.NOT_SERVING if problem else HealthCheckResponse.SERVING
        await self.servicer.set(LIVENESS, HealthCheckResponse.SERVING)
        for service in self._services:
            await self.servicer.set(service, state)

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            await self.update()
            check_cancelled()
            await asyncio.sleep(_INTERVAL_S)

    async def drain(self) -> None:
        """NOT_SERVING from now on."""
        await self.servicer.enter_graceful_shutdown()

    async def _find_problem(self) -> str | None:
        try:
            pools = await self._catalogue.kinds()
        except RedisError as error:
            return f"Redis does not answer: {error}"
        if any(kinds >= _KINDS for kinds in pools.values()):
            return None
        return f"no pool has live workers for {' and '.join(sorted(_KINDS))} work"
