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
LIVENESS = "liveness"
"""Service that is SERVING while the process is: a server is not to be restarted for Redis' sake."""


class Health:
    """SERVING while Redis answers and live workers take both kinds of work.

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
            missing = {tasks.GRADIENT, tasks.PERTURBATION} - await self._catalogue.kinds()
        except RedisError as error:
            return f"Redis does not answer: {error}"
        return f"no live worker takes {' and '.join(sorted(missing))} work" if missing else None
