"""The models that live workers serve."""

import time
from collections import defaultdict
from collections.abc import Mapping

from expound.v1.model_service_pb2 import Model
from expound.v1.worker_pb2 import WorkerCard
from expound_server.errors import ModelNotFound, NoWorker
from expound_server.names import model_name
from expound_server.store import Store

_FRESH_S = 1.0


class Catalogue:
    """Cards of the live workers, read from Redis at most about once a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._workers: list[WorkerCard] = []
        self._models: dict[str, Model] = {}
        self._read_at_s = float("-inf")

    async def kinds(self) -> Mapping[str, set[str]]:
        """Kinds of work that the live workers take, by pool."""
        await self._refresh(_FRESH_S)
        kinds: defaultdict[str, set[str]] = defaultdict(set)
        for worker in self._workers:
            kinds[worker.pool].update(worker.kinds)
        return kinds

    async def models(self) -> Mapping[str, Model]:
        """Served models by name."""
        await self._refresh(_FRESH_S)
        return self._models

    async def model(self, name: str) -> Model:
        """One served model.

        Raises:
            ModelNotFound: no live worker serves it; names what is served.
            NoWorker: no worker lives.
        """
        if name not in await self.models():
            # A worker may have come up since.
            await self._refresh(0)
        if not self._workers:
            # They start, or Redis was away for as long as their cards last.
            raise NoWorker
        if name not in self._models:
            raise ModelNotFound(name, list(self._models))
        return self._models[name]

    async def _refresh(self, max_age_s: float) -> None:
        if time.monotonic() - self._read_at_s <= max_age_s:
            return
        self._workers = await self._store.workers()
        self._models = {
            model_name(model.name): model for worker in self._workers for model in worker.models
        }
        self._read_at_s = time.monotonic()
