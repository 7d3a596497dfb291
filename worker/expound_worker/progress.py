"""How far a perturbation method is, as its record tells it."""

import time
from collections.abc import Sequence
from functools import partial

from expound.v1 import explanation_pb2
from expound_worker.attributions import to_partial
from expound_worker.checkpoints import Scores
from expound_worker.methods.method import Answer, Estimate, Report, largest_error
from expound_worker.store import outlasting_outages
from expound_worker.unit import Stopped, Unit

_PERIOD_S = 0.25
_CHECK_PERIOD_S = 0.05
"""How often it is asked, between two writes, whether the unit is still this worker's."""
_MOST_PARTIAL_BYTES = 2**25
"""Partial maps stay in Redis as long as the explanation: beyond so many a method tells no more."""


class JobProgress:
    """Writes the progress of a method over all its inputs, not more often than is of use.

    Attributes:
        last: how far it is by the last report.
    """

    def __init__(self, unit: Unit, key: str, input_count: int, scores: Scores) -> None:
        self.last = explanation_pb2.Progress()
        self._unit = unit
        self._key = key
        self._input_count = input_count
        self._scores = scores
        # Of the inputs before this one; and the total of this one.
        self._done_before = self._total_before = 0
        self._error_before = 0.0
        self._total = 0
        self._sent_bytes = 0
        self._offered = False
        self._started_s = time.monotonic()
        self._written_s = self._checked_s = self._started_s

    def of_input(self, number: int, targets: Sequence[explanation_pb2.ClassScore]) -> Report:
        """The report of one input, to be made when the one before it is done."""
        self._done_before = self.last.evaluations_done
        self._total_before += self._total
        self._error_before = self.last.standard_error
        self._total = 0
        self._offered = False
        return partial(self._report, number, targets)

    def finish(self, answers: Sequence[Answer]) -> None:
        """Takes in the answers of one input."""
        error = largest_error(answers)
        if error is not None:
            self.last.standard_error = max(error, self._error_before)

    def _report(
        self,
        number: int,
        targets: Sequence[explanation_pb2.ClassScore],
        done: int,
        total: int,
        estimate: Estimate | None = None,
    ) -> None:
        """As `Report` says. Raises Stopped."""
        now_s = time.monotonic()
        # This input is among those left, and each is taken to be like it.
        inputs_left = self._input_count - number
        self._total = total
        self.last.evaluations_done = self._done_before + done
        self.last.evaluations_total = self._total_before + total * inputs_left
        left = max(total * inputs_left - done, 0)
        left_s = self._time(left, now_s)
        if self._scores.repeating:
            return
        due = left == 0 or now_s - self._written_s >= _PERIOD_S
        # A job that lasts shows its first map as soon as it has one; the last one is the result.
        early = not self._offered and left_s >= _PERIOD_S
        wanted = left > 0 and (due or early)
        affordable = self._sent_bytes < _MOST_PARTIAL_BYTES
        answers = estimate() if wanted and affordable and estimate is not None else []
        if due or answers:
            self._written_s = self._checked_s = now_s
            self.finish(answers)
            with outlasting_outages():
                self._write(number, targets, answers)
        elif now_s - self._checked_s >= _CHECK_PERIOD_S:
            self._checked_s = now_s
            with outlasting_outages():
                if not self._unit.is_held():
                    raise Stopped

    def _time(self, left: int, now_s: float) -> float:
        """Notes how many seconds the evaluations that are left take, and gives them."""
        speed = self.last.evaluations_done / max(now_s - self._started_s, 1e-9)
        left_s = left / speed if speed else 0.0
        self.last.time_left.FromNanoseconds(int(left_s * 1e9))
        return left_s

    def _write(
        self,
        number: int,
        targets: Sequence[explanation_pb2.ClassScore],
        answers: Sequence[Answer],
    ) -> None:
        """Writes how far it is, and the answers as they stand. Raises Stopped."""
        progressed = explanation_pb2.MethodProgressed(
            key=self._key,
            progress=self.last,
            # The segments of an input come once, with its first target.
            partials=[
                to_partial(answer, number, target, with_segments=not self._offered and place == 0)
                for place, (target, answer) in enumerate(zip(targets, answers, strict=False))
            ],
        )
        self._sent_bytes += progressed.ByteSize()
        self._unit.write_progress(progressed)
        self._offered = self._offered or bool(answers)
