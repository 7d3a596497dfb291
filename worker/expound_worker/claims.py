"""How a worker comes by work: it claims units that nobody has, with all that they need."""

from collections.abc import Iterable, Mapping
from typing import cast

from redis.exceptions import NoScriptError

from expound import records
from expound.v1 import explanation_pb2
from expound_worker.store import Call, Store
from expound_worker.unit import Unit, Work


class Claims:
    """Claims units of work for one worker; any thread may use it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(self, explanation_id: str, name: str) -> Work | None:
        """Takes a method with all that it needs; None when there is nothing to take."""
        claimed = self._store.run("claim", explanation_id, name, self._store.worker, "content")
        if claimed is None:
            return None
        attempt, *content = claimed
        return self._work(explanation_id, name, attempt, content)

    def take_ready(
        self, queue: str, explanation_id: str, batch_sizes: Mapping[str, int]
    ) -> list[Work]:
        """Takes explanations that can run as one batch; none when nothing waits.

        Args:
            queue: where they wait.
            explanation_id: the one to begin with if it waits there; else, and where it is "", the
                oldest that does.
            batch_sizes: how many inputs to take at once, by resource name of the model.
        """
        call = self._claiming_ready(queue, explanation_id, batch_sizes)
        return self._works(self._store.run_all([call])[0])

    def wait_ready(
        self, queue: str, timeout_s: float, batch_sizes: Mapping[str, int]
    ) -> list[Work]:
        """Waits until explanations are ready, and takes some as `take_ready` does.

        Both are sent at once, so that Redis takes them in the moment in which they come.
        """
        claiming = self._claiming_ready(queue, "", batch_sizes)
        with self._store.client.pipeline(transaction=False) as pipeline:
            pipeline.blpop([records.wake_key(queue)], timeout_s)
            self._store.add(pipeline, claiming)
            _, claimed = pipeline.execute(raise_on_error=False)
        if isinstance(claimed, NoScriptError):
            (claimed,) = self._store.run_all([claiming])
        if isinstance(claimed, Exception):
            raise claimed
        return self._works(claimed)

    def next_job(self, pool: str, timeout_s: float) -> tuple[str, int] | None:
        """Waits for a perturbation method that no worker has: explanation id and method index.

        It is this worker's alone to take.
        """
        popped = cast(
            tuple[bytes, bytes, float] | None,
            self._store.client.bzpopmin(records.jobs_key(pool), timeout_s),
        )
        if popped is None:
            return None
        explanation_id, unit = popped[1].decode().split()
        return explanation_id, int(unit)

    def _claiming_ready(
        self, queue: str, explanation_id: str, batch_sizes: Mapping[str, int]
    ) -> Call:
        sizes = [item for pair in batch_sizes.items() for item in pair]
        return Call("claim_ready", (queue, self._store.worker, explanation_id, *sizes))

    def _works(self, claimed: Iterable[tuple[bytes, int, *tuple[bytes, ...]]]) -> list[Work]:
        return [
            self._work(taken_id.decode(), records.EXPLAIN_UNIT, attempt, content)
            for taken_id, attempt, *content in claimed
        ]

    def _work(self, explanation_id: str, name: str, attempt: int, content: Iterable[bytes]) -> Work:
        request, predictions, *inputs = content
        work = Work(
            Unit(self._store, explanation_id, name, attempt),
            explanation_pb2.ExplainRequest.FromString(request),
            explanation_pb2.PredictionsReady.FromString(predictions),
        )
        for encoded in inputs:
            work.request.inputs.add().MergeFromString(encoded)
        return work
