"""Keeps the scores of a job, so that the next attempt at it need not evaluate them again.

The masks of a job follow from its seed, and all else from the scores of its composites in their
order: whoever has these has everything.
"""

import threading
import time
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expound_worker.models.model import Model
from expound_worker.store import outlasting_outages
from expound_worker.unit import Released, Unit

PERIOD_S = 2.0


class Scores:
    """The scores of one job in the order of their evaluation: those it finds, and those it adds."""

    def __init__(self, unit: Unit, stopping: threading.Event) -> None:
        """Begins with what the attempt before has kept, if there was one."""
        self._unit = unit
        self._stopping = stopping
        kept = unit.checkpoint() if unit.attempt > 1 else b""
        self._found: NDArray[np.float64] = np.frombuffer(kept)
        self._position = 0
        self._added: list[NDArray[np.float64]] = []
        self._saved_s = time.monotonic()

    @property
    def repeating(self) -> bool:
        """Whether there are scores yet that an earlier attempt has reported."""
        return self._position < len(self._found)

    def next_found(self, shape: tuple[int, int]) -> NDArray[np.float64] | None:
        """The next scores, where all of them were found."""
        end = self._position + shape[0] * shape[1]
        if end > len(self._found):
            # What is left of a batch is evaluated again with the rest of it.
            self._found = self._found[: self._position]
            return None
        scores = self._found[self._position : end].reshape(shape)
        self._position = end
        return scores

    def add(self, scores: NDArray[np.float64]) -> None:
        """Takes in what was evaluated, and keeps it now and then.

        Raises:
            Released: the worker stops.
            Stopped: the job is no longer this worker's.
        """
        self._added.append(scores)
        if self._stopping.is_set():
            self._save()
            raise Released
        if time.monotonic() - self._saved_s >= PERIOD_S:
            self._save()

    def _save(self) -> None:
        added = [scores.ravel() for scores in self._added]
        with outlasting_outages():
            self._unit.write_checkpoint(np.concatenate([self._found, *added]).tobytes())
        self._saved_s = time.monotonic()


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
