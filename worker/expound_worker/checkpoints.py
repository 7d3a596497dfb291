"""Keeps the scores of a job, so that the next attempt at it need not evaluate them again.

The masks of an input follow from the seed, and all else from the scores of its composites in their
order: whoever has these has everything. They are kept input by input: another attempt may end an
input sooner or later than the one before, by the time it takes or by batches of another size.
"""

import threading
import time
from dataclasses import dataclass, fields

import msgpack
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expound_worker.models.model import Model
from expound_worker.store import outlasting_outages
from expound_worker.unit import Released, Unit

PERIOD_S = 2.0
_NONE: NDArray[np.float64] = np.empty(0)


class Scores:
    """The scores of one job, of each input in the order of their evaluation: found, and added."""

    def __init__(self, unit: Unit, stopping: threading.Event) -> None:
        """Begins with what the attempt before has kept, if there was one."""
        self._unit = unit
        self._stopping = stopping
        kept = unit.checkpoint() if unit.attempt > 1 else b""
        self._found = [np.frombuffer(scores) for scores in msgpack.unpackb(kept)] if kept else []
        self._left = _NONE
        self._done: list[list[NDArray[np.float64]]] = []
        self._saved_s = time.monotonic()

    @property
    def repeating(self) -> bool:
        """Whether scores of an earlier attempt are still used, which it has reported already."""
        return len(self._left) > 0 or len(self._done) < len(self._found)

    def next_input(self) -> None:
        """Goes on to the next input."""
        self._left = self._found[len(self._done)] if len(self._done) < len(self._found) else _NONE
        self._done.append([])

    def next_found(self, shape: tuple[int, int]) -> NDArray[np.float64] | None:
        """The next scores of the input, where all of them were found."""
        scores, self._left = np.split(self._left, [shape[0] * shape[1]])
        if len(scores) < shape[0] * shape[1]:
            # What is left of a batch is evaluated again with the rest of it.
            return None
        self._done[-1].append(scores)
        return scores.reshape(shape)

    def add(self, scores: NDArray[np.float64]) -> None:
        """Takes in what was evaluated, and keeps it now and then.

        Raises:
            Released: the worker stops.
            Stopped: the job is no longer this worker's.
        """
        self._done[-1].append(scores.ravel())
        if self._stopping.is_set():
            self._save()
            raise Released
        if time.monotonic() - self._saved_s >= PERIOD_S:
            self._save()

    def _save(self) -> None:
        scores = [*map(_joined, self._done), *self._found[len(self._done) :]]
        with outlasting_outages():
            self._unit.write_checkpoint(msgpack.packb([each.tobytes() for each in scores]))
        self._saved_s = time.monotonic()


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([_NONE, *parts])


@dataclass(frozen=True, kw_only=True)
class CheckpointedModel(Model):
    """A model that does not evaluate again what an earlier attempt at a job has.

    Attributes:
        scores: the job's scores.
    """

    scores: Scores

    def probabilities(self, inputs: Tensor, targets: Tensor) -> NDArray[np.float64]:
        """As `Model.probabilities`."""
        found = self.scores.next_found((len(inputs), len(targets)))
        if found is not None:
            return found
        evaluated = super().probabilities(inputs, targets)
        self.scores.add(evaluated)
        return evaluated


def checkpointed(model: Model, scores: Scores) -> Model:
    """The model of a job with such scores."""
    known = {each.name: getattr(model, each.name) for each in fields(Model)}
    return CheckpointedModel(**known, scores=scores)
