"""The records in Redis, as a worker sees them: claims, writes and ends of units of work."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from google.rpc import status_pb2
from redis.commands.core import Script

from expound import records
from expound.v1 import explanation_pb2


class Stopped(Exception):
    """The unit is no longer this worker's: cancelled, past its deadline, deleted or taken over."""


class Store:
    """Runs the scripts of `expound.records` for one worker."""

    def __init__(self, client: redis.Redis, worker: str) -> None:
        self.client = client
        self.worker = worker
        names = ("claim", "write", "finish", "end", "heartbeat")
        self._scripts: dict[str, Script] = {
            name: client.register_script(records.script(name)) for name in names
        }

    def run(self, script: str, *arguments: str | bytes | int) -> Any:
        """Runs a script; see `expound.records.script` for its arguments and answer."""
        return self._scripts[script](keys=[records.PREFIX], args=list(arguments))

    def take(self, explanation_id: str, name: str) -> "Work | None":
        """Takes a unit with all that it needs; None when there is nothing to take."""
        claimed = self.run("claim", explanation_id, name, self.worker, "content")
        if claimed is None:
            return None
        attempt, request, predictions, *inputs = claimed
        work = Work(
            Unit(self, explanation_id, name, attempt),
            explanation_pb2.ExplainRequest.FromString(request),
            explanation_pb2.PredictionsReady.FromString(predictions),
        )
        for encoded in inputs:
            work.request.inputs.add().MergeFromString(encoded)
        return work


@dataclass(frozen=True)
class Unit:
    """A unit of work that this worker has claimed; fenced by its attempt number."""

    store: Store
    explanation_id: str
    name: str
    attempt: int

    def claim_method(self, index: int) -> "Unit | None":
        """Takes a method of the same explanation; None when it is not to be run."""
        name = str(index)
        claimed = self.store.run("claim", self.explanation_id, name, self.store.worker, "")
        return None if claimed is None else Unit(self.store, self.explanation_id, name, claimed[0])

    def check(self) -> None:
        """Raises Stopped when the unit is no longer this worker's."""
        key = records.record_key(self.explanation_id)
        fields = [f"{self.name}:state", f"{self.name}:attempt"]
        running = str(explanation_pb2.STATE_RUNNING).encode()
        if self.store.client.hmget(key, fields) != [running, str(self.attempt).encode()]:
            raise Stopped

    def write_predictions(
        self,
        predictions: Sequence[explanation_pb2.Prediction],
        provenance: explanation_pb2.Provenance,
    ) -> None:
        """Writes what the model says. Raises Stopped."""
        payload = explanation_pb2.PredictionsReady(predictions=predictions).SerializeToString()
        made_of = provenance.SerializeToString()
        self._write("predictions", payload, "predictions", payload, "provenance", made_of)

    def write_progress(self, progressed: explanation_pb2.MethodProgressed) -> None:
        """Writes how far the method is; the record keeps it without its maps. Raises Stopped."""
        payload = progressed.SerializeToString()
        progressed.ClearField("partials")
        self._write("progress", payload, f"{self.name}:progress", progressed.SerializeToString())

    def succeed(self, result: explanation_pb2.MethodResult | None = None) -> None:
        """Ends the unit well. Raises Stopped."""
        serialised = b"" if result is None else result.SerializeToString()
        self._finish(explanation_pb2.STATE_SUCCEEDED, b"", serialised)

    def fail(self, error: status_pb2.Status) -> None:
        """Ends the unit with an error. Raises Stopped."""
        self._finish(explanation_pb2.STATE_FAILED, error.SerializeToString(), b"")

    def fail_all(self, error: status_pb2.Status) -> None:
        """Ends the whole explanation with an error. Raises Stopped."""
        state = str(explanation_pb2.STATE_FAILED)
        arguments = (state, error.SerializeToString(), self.name, self.attempt)
        if not self.store.run("end", self.explanation_id, *arguments):
            raise Stopped

    def _write(self, kind: str, payload: bytes, *fields: str | bytes) -> None:
        if not self._run("write", kind, payload, *fields):
            raise Stopped

    def _finish(self, state: explanation_pb2.State.ValueType, error: bytes, result: bytes) -> None:
        if not self._run("finish", str(int(state)), error, result):
            raise Stopped

    def _run(self, script: str, *arguments: str | bytes) -> Any:
        return self.store.run(script, self.explanation_id, self.name, self.attempt, *arguments)


@dataclass(frozen=True)
class Work:
    """A claimed unit, and what the record says of it.

    Attributes:
        unit: the unit.
        request: the resolved request, with its inputs.
        predictions: those that the unit ``explain`` wrote; none before.
    """

    unit: Unit
    request: explanation_pb2.ExplainRequest
    predictions: explanation_pb2.PredictionsReady
