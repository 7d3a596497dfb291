"""A unit of work that this worker has claimed: what it writes to the record, fenced by attempt."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from google.rpc import status_pb2

from expound import records
from expound.v1 import explanation_pb2
from expound_worker.store import Call, Store


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
        """A method that is claimed only as it ends; this is the unit ``explain``."""
        name, began_s = str(index), time.monotonic()
        return Unit(self.store, self.explanation_id, name, 0, self.attempt, began_s)

    def is_held(self) -> bool:
        """Whether the unit is still this worker's."""
        key = records.record_key(self.explanation_id)
        fields = [f"{self.name}:state", f"{self.name}:attempt"]
        running = str(explanation_pb2.STATE_RUNNING).encode()
        return self.store.client.hmget(key, fields) == [running, str(self.attempt).encode()]

    def write_progress(self, progressed: explanation_pb2.MethodProgressed) -> None:
        """Writes how far the method is; the record keeps it without its maps. Raises Stopped."""
        whole = progressed.SerializeToString()
        progressed.ClearField("partials")
        call = self._call("progress", whole, progressed.SerializeToString())
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
        self.store.run_all([self.releasing(later=later)])

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
        made_of, made_with = provenance.SerializeToString(), _weights(provenance)
        call = self._call("begin_anew", payload, made_of, made_with)
        answer = self.store.run_all([call])[0]
        if answer == 0:
            raise Stopped
        return bool(answer == 1)

    def offering(self, indices: Sequence[int]) -> Call:
        """Puts methods where workers look for jobs; this is the unit ``explain``."""
        return Call("offer", (self.explanation_id, self.attempt, *map(str, indices)))

    def claiming(self, index: int) -> Call:
        """Takes a method; this is the unit ``explain``."""
        worker = self.store.worker
        return Call("claim", (self.explanation_id, str(index), worker, "", self.attempt))

    def predicting(
        self,
        predictions: Sequence[explanation_pb2.Prediction],
        provenance: explanation_pb2.Provenance,
    ) -> Call:
        """Writes what the model says; this is the unit ``explain``.

        Methods that another explanation has answered end by that, and are no longer to be claimed.
        """
        payload = explanation_pb2.PredictionsReady(predictions=predictions).SerializeToString()
        made_of = (provenance.SerializeToString(), _weights(provenance))
        return Call("predict", (self.explanation_id, self.attempt, payload, *made_of))

    def succeeding(self, result: explanation_pb2.MethodResult | None = None) -> Call:
        """Ends the unit well; the result is left without its tensors."""
        if result is None:
            return self._finishing(explanation_pb2.STATE_SUCCEEDED)
        whole = result.SerializeToString()
        _drop_tensors(result)
        return self._finishing(
            explanation_pb2.STATE_SUCCEEDED, result=whole, summary=result.SerializeToString()
        )

    def failing(self, error: status_pb2.Status) -> Call:
        """Ends the unit with an error."""
        return self._finishing(explanation_pb2.STATE_FAILED, error=error.SerializeToString())

    def failing_all(self, error: status_pb2.Status) -> Call:
        """Ends the whole explanation with an error."""
        state = str(explanation_pb2.STATE_FAILED)
        arguments = (state, error.SerializeToString(), self.name, self.attempt)
        return Call("end", (self.explanation_id, *arguments))

    def releasing(self, *, later: bool = False) -> Call:
        """Gives the unit back, as `release` does."""
        return self._call("release", *(["later"] if later else []))

    def _finishing(
        self,
        state: explanation_pb2.State.ValueType,
        error: bytes = b"",
        result: bytes = b"",
        summary: bytes = b"",
    ) -> Call:
        ended = (str(state), error, result, summary)
        if self.explain_attempt is None:
            return self._call("finish", *ended)
        taken_us = round((time.monotonic() - self.began_s) * 1e6)
        claim = (self.store.worker, str(self.explain_attempt), str(taken_us))
        return self._call("finish", *ended, *claim)

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


def _drop_tensors(result: explanation_pb2.MethodResult) -> None:
    for attribution in result.attributions:
        for field in ("values", "picture", "segments", "weights", "standard_errors"):
            attribution.ClearField(field)


def _weights(provenance: explanation_pb2.Provenance) -> str:
    return records.weights(provenance.model_version, provenance.model_digest)
