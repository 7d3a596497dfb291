"""The records in Redis, as a worker sees them: claims, writes and ends of units of work."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis
from google.rpc import status_pb2
from redis.backoff import ExponentialWithJitterBackoff
from redis.client import Pipeline
from redis.exceptions import NoScriptError
from redis.retry import Retry

from expound import records
from expound.v1 import explanation_pb2, worker_pb2

_SCRIPTS = (
    "claim",
    "claim_ready",
    "offer",
    "checkpoint",
    "renew",
    "release",
    "begin_anew",
    "workers",
    "write",
    "finish",
    "end",
    "heartbeat",
)


_TRIES_TO_END = 5
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class Stopped(Exception):
    """The unit is no longer this worker's: cancelled, past its deadline, deleted or taken over."""


class Released(Exception):
    """The worker gives the unit back, for another to take: what it has is kept.

    Attributes:
        later: whether it should rather be another worker than this one.
    """

    def __init__(self, *, later: bool = False) -> None:
        super().__init__()
        self.later = later


@dataclass(frozen=True)
class Call:
    """One run of a script; see `expound.records.script` for its arguments and answer."""

    script: str
    arguments: Sequence[str | bytes | int]


class Store:
    """Runs the scripts of `expound.records` for one worker; any thread may use it."""

    def __init__(self, client: redis.Redis, worker: str) -> None:
        self.client = client
        self.worker = worker
        self._scripts = {name: client.register_script(records.script(name)) for name in _SCRIPTS}

    def run(self, script: str, *arguments: str | bytes | int) -> Any:
        """Runs one script and gives its answer."""
        (answer,) = self.run_all([Call(script, arguments)])
        return answer

    def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Runs scripts one behind the other in one round trip, and gives their answers.

        Each stands for itself: what one answers does not keep the next from running.
        """
        if not calls:
            return []
        answers = self._send(calls)
        unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            # Redis has been started anew since, and knows no script.
            for script in self._scripts.values():
                self.client.script_load(script.script)
            again = self._send([calls[index] for index in unknown])
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def run_to_end(self, calls: Sequence[Call]) -> None:
        """Runs calls that end units, and again where Redis has gone away meanwhile.

        Nothing is done twice: what has ended is no longer this worker's to end.
        """
        retry = Retry(
            ExponentialWithJitterBackoff(base=_FIRST_PAUSE_S, cap=_LONGEST_PAUSE_S),
            _TRIES_TO_END,
            supported_errors=(redis.ConnectionError, redis.TimeoutError),
        )
        retry.call_with_retry(lambda: self.run_all(calls), lambda _: None)

    def take(self, explanation_id: str, name: str) -> "Work | None":
        """Takes a method with all that it needs; None when there is nothing to take."""
        claimed = self.run("claim", explanation_id, name, self.worker, "content")
        if claimed is None:
            return None
        attempt, *content = claimed
        return self._work(explanation_id, name, attempt, content)

    def workers(self) -> list[worker_pb2.WorkerCard]:
        """The cards of the workers that live."""
        return [worker_pb2.WorkerCard.FromString(card) for card in self.run("workers")]

    def take_ready(
        self, pool: str, explanation_id: str, batch_sizes: Mapping[str, int]
    ) -> list["Work"]:
        """Takes explanations that can run as one batch; none when nothing waits.

        Args:
            pool: pool of the worker.
            explanation_id: the one to begin with if nobody has it; else, and where it is "", the
                oldest that waits.
            batch_sizes: how many inputs to take at once, by resource name of the model.
        """
        call = self._claiming_ready(pool, explanation_id, batch_sizes)
        return self._works(self.run_all([call])[0])

    def wait_ready(
        self, pool: str, timeout_s: float, batch_sizes: Mapping[str, int]
    ) -> list["Work"]:
        """Waits until explanations are ready, and takes some as `take_ready` does.

        Both are sent at once, so that Redis takes them in the moment in which they come.
        """
        claiming = self._claiming_ready(pool, "", batch_sizes)
        with self.client.pipeline(transaction=False) as pipeline:
            pipeline.blpop([records.wake_key(pool)], timeout_s)
            self._add(pipeline, claiming)
            _, claimed = pipeline.execute(raise_on_error=False)
        if isinstance(claimed, NoScriptError):
            (claimed,) = self.run_all([claiming])
        if isinstance(claimed, Exception):
            raise claimed
        return self._works(claimed)

    def next_job(self, pool: str, timeout_s: float) -> tuple[str, int] | None:
        """Waits for a perturbation method that no worker has: explanation id and method index.

        It is this worker's alone to take.
        """
        popped = cast(
            tuple[bytes, bytes, float] | None,
            self.client.bzpopmin(records.jobs_key(pool), timeout_s),
        )
        if popped is None:
            return None
        explanation_id, unit = popped[1].decode().split()
        return explanation_id, int(unit)

    def renew(self, units: "Sequence[Unit]") -> None:
        """Renews the leases of claimed units, as far as they are this worker's yet."""
        names = [part for unit in units for part in (unit.explanation_id, unit.name, unit.attempt)]
        self.run("renew", *names)

    def _send(self, calls: Sequence[Call]) -> list[Any]:
        with self.client.pipeline(transaction=False) as pipeline:
            for call in calls:
                self._add(pipeline, call)
            return pipeline.execute(raise_on_error=False)

    def _add(self, pipeline: Pipeline, call: Call) -> None:
        sha = self._scripts[call.script].sha
        pipeline.evalsha(sha, 1, records.PREFIX, *call.arguments)

    def _claiming_ready(
        self, pool: str, explanation_id: str, batch_sizes: Mapping[str, int]
    ) -> Call:
        sizes = [item for pair in batch_sizes.items() for item in pair]
        return Call("claim_ready", (pool, self.worker, explanation_id, *sizes))

    def _works(self, claimed: Iterable[tuple[bytes, int, *tuple[bytes, ...]]]) -> list["Work"]:
        return [
            self._work(taken_id.decode(), records.EXPLAIN_UNIT, attempt, content)
            for taken_id, attempt, *content in claimed
        ]

    def _work(
        self, explanation_id: str, name: str, attempt: int, content: Iterable[bytes]
    ) -> "Work":
        request, predictions, *inputs = content
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
    """A unit of work that this worker has claimed; fenced by its attempt number.

    Attributes:
        store: where it is.
        explanation_id: the explanation whose it is.
        name: its name in the record.
        attempt: number of this attempt at it; 0 where it is yet to be claimed.
        explain_attempt: of a method that is claimed only as it ends, the attempt at the unit
            ``explain`` within which that is; else None.
        began_s: of such a one, when its work began, by `time.monotonic`.
    """

    store: Store
    explanation_id: str
    name: str
    attempt: int
    explain_attempt: int | None = None
    began_s: float = 0.0

    def method(self, index: int, attempt: int) -> "Unit":
        """A method of the same explanation that has been claimed."""
        return Unit(self.store, self.explanation_id, str(index), attempt)

    def within(self, index: int) -> "Unit":
        """A method of the explanation whose unit ``explain`` this is, claimed only as it ends."""
        name, began_s = str(index), time.monotonic()
        return Unit(self.store, self.explanation_id, name, 0, self.attempt, began_s)

    def check(self) -> None:
        """Raises Stopped when the unit is no longer this worker's."""
        key = records.record_key(self.explanation_id)
        fields = [f"{self.name}:state", f"{self.name}:attempt"]
        running = str(explanation_pb2.STATE_RUNNING).encode()
        if self.store.client.hmget(key, fields) != [running, str(self.attempt).encode()]:
            raise Stopped

    def write_progress(self, progressed: explanation_pb2.MethodProgressed) -> None:
        """Writes how far the method is; the record keeps it without its maps. Raises Stopped."""
        payload = progressed.SerializeToString()
        progressed.ClearField("partials")
        kept = progressed.SerializeToString()
        call = self._call("write", "progress", payload, f"{self.name}:progress", kept)
        if not self.store.run_all([call])[0]:
            raise Stopped

    def checkpoint(self) -> bytes:
        """What an attempt before this one has kept; b"" for nothing."""
        key = records.checkpoint_key(self.explanation_id, self.name)
        return cast(bytes | None, self.store.client.get(key)) or b""

    def write_checkpoint(self, content: bytes) -> None:
        """Keeps what a later attempt needs to go on. Raises Stopped."""
        if not self.store.run_all([self._call("checkpoint", content)])[0]:
            raise Stopped

    def release(self, *, later: bool = False) -> None:
        """Gives the unit back, for another worker to take: at once, or after a while."""
        self.store.run_all([self._call("release", *(["later"] if later else []))])

    def provenance(self) -> explanation_pb2.Provenance | None:
        """What the predictions were made of and by; None while there are none."""
        key = records.record_key(self.explanation_id)
        written = cast(bytes | None, self.store.client.hget(key, "provenance"))
        return None if written is None else explanation_pb2.Provenance.FromString(written)

    def begin_anew(
        self,
        predictions: Sequence[explanation_pb2.Prediction],
        provenance: explanation_pb2.Provenance,
    ) -> bool:
        """Puts predictions in place of another version's; False where a method has ended by it.

        Raises:
            Stopped: the unit is no longer this worker's, or was given back for later.
        """
        payload = explanation_pb2.PredictionsReady(predictions=predictions).SerializeToString()
        call = self._call("begin_anew", payload, provenance.SerializeToString())
        answer = self.store.run_all([call])[0]
        if answer == 0:
            raise Stopped
        return bool(answer == 1)

    def offering(self, indices: Sequence[int]) -> Call:
        """Puts methods where workers look for jobs, by whom this unit ``explain`` is held."""
        return Call("offer", (self.explanation_id, self.attempt, *map(str, indices)))

    def claiming(self, index: int) -> Call:
        """Takes a method of the explanation whose unit ``explain`` this is."""
        worker = self.store.worker
        return Call("claim", (self.explanation_id, str(index), worker, "", self.attempt))

    def predicting(
        self,
        predictions: Sequence[explanation_pb2.Prediction],
        provenance: explanation_pb2.Provenance,
    ) -> Call:
        """Writes what the model says."""
        payload = explanation_pb2.PredictionsReady(predictions=predictions).SerializeToString()
        made_of = provenance.SerializeToString()
        return self._call("write", "predictions", payload, "predictions", payload,
                          "provenance", made_of)  # fmt: skip

    def succeeding(self, result: explanation_pb2.MethodResult | None = None) -> Call:
        """Ends the unit well."""
        serialised = b"" if result is None else result.SerializeToString()
        return self._finishing(explanation_pb2.STATE_SUCCEEDED, b"", serialised)

    def failing(self, error: status_pb2.Status) -> Call:
        """Ends the unit with an error."""
        return self._finishing(explanation_pb2.STATE_FAILED, error.SerializeToString(), b"")

    def failing_all(self, error: status_pb2.Status) -> Call:
        """Ends the whole explanation with an error."""
        state = str(explanation_pb2.STATE_FAILED)
        arguments = (state, error.SerializeToString(), self.name, self.attempt)
        return Call("end", (self.explanation_id, *arguments))

    def _finishing(
        self, state: explanation_pb2.State.ValueType, error: bytes, result: bytes
    ) -> Call:
        if self.explain_attempt is None:
            return self._call("finish", str(state), error, result)
        taken_us = round((time.monotonic() - self.began_s) * 1e6)
        claim = (self.store.worker, str(self.explain_attempt), str(taken_us))
        return self._call("finish", str(state), error, result, *claim)

    def _call(self, script: str, *arguments: str | bytes) -> Call:
        return Call(script, (self.explanation_id, self.name, self.attempt, *arguments))


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
