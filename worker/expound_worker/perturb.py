"""The unit of one perturbation method: a job that tells how far it is, and can be stopped."""

import threading
import time
from collections.abc import Sequence
from functools import partial

import redis
import torch

from expound import tasks
from expound.v1 import explanation_pb2
from expound_worker.attributions import Attributions, to_partial
from expound_worker.checkpoints import Scores, checkpointed
from expound_worker.failures import describe, method_path
from expound_worker.images import Decode, prepare
from expound_worker.methods.catalogue import PERTURBATION_METHODS
from expound_worker.methods.method import Answer, Estimate, Report, largest_error
from expound_worker.models.model import Model
from expound_worker.models.registry import Registry
from expound_worker.predictions import explained, predict
from expound_worker.provenance import provenance
from expound_worker.store import outlasting_outages
from expound_worker.unit import Released, Stopped, Unit, Work
from expound_worker.versions import Predictions, take_over

PROGRESS_PERIOD_S = 0.25
_MOST_PARTIAL_BYTES = 2**25
"""Partial maps stay in Redis as long as the explanation: beyond so many a method tells no more."""
CHECK_PERIOD_S = 0.05


def run(
    work: Work, index: int, models: Registry, decode: Decode, stopping: threading.Event
) -> None:
    """Runs method number `index` of the request on every input, and writes what it finds.

    When the worker stops, or needs the device for itself, the method is given back.

    Raises:
        redis.RedisError: Redis is away, and was needed: another attempt goes on when the lease has
            run out.
    """
    try:
        try:
            result = _attribute(work, index, models, decode, stopping)
        except (Stopped, redis.RedisError):
            raise
        except Released as released:
            work.unit.release(later=released.later)
            return
        except Exception as error:
            end = work.unit.failing(describe(error, method_path(work.request, index)))
        else:
            end = work.unit.succeeding(result)
    except Stopped:
        return
    # Nothing is left to do where it is no longer this worker's to end.
    work.unit.store.run_to_end([end])


def _attribute(
    work: Work, index: int, models: Registry, decode: Decode, stopping: threading.Event
) -> explanation_pb2.MethodResult:
    request = work.request
    served = models.get(request.model)
    targets = explained(served, _predictions(work, served, decode), request.target)
    scores = Scores(work.unit, stopping)
    model = checkpointed(served, scores)
    method = request.methods[index]
    name = method.WhichOneof("method") or ""
    attributions = Attributions(request.output)
    progress = _Progress(work.unit, method.key, len(request.inputs), scores)
    for number, (source, classes) in enumerate(zip(request.inputs, targets, strict=True)):
        image = prepare(source, number, model.preprocessing, decode).to(model.device)
        scores.next_input()
        with torch.inference_mode():
            answers = PERTURBATION_METHODS[name].attribute(
                model,
                image,
                [score.index for score in classes],
                getattr(method, name),
                request.seed,
                progress.of_input(number, classes),
            )
        progress.finish(answers)
        for score, answer in zip(classes, answers, strict=True):
            attributions.add(answer, number, score)
    result = attributions.result
    result.progress.CopyFrom(progress.last)
    result.progress.ClearField("time_left")
    return result


def _predictions(work: Work, model: Model, decode: Decode) -> Predictions:
    """What the model says of the inputs, whichever version the work was begun with."""

    def predicted() -> Predictions:
        images = [
            prepare(source, number, model.preprocessing, decode)
            for number, source in enumerate(work.request.inputs)
        ]
        return predict(
            model, model.logits(torch.stack(images).to(model.device)), work.request.target
        )

    made_of = provenance(work.unit, work.request, model)
    anew = take_over(work.unit, tasks.PERTURBATION, model, made_of, predicted)
    return work.predictions.predictions if anew is None else anew


class _Progress:
    """Writes the progress of a method over all its inputs, not more often than is of use."""

    def __init__(self, unit: Unit, key: str, input_count: int, scores: Scores) -> None:
        self.last = explanation_pb2.Progress()
        self._unit = unit
        self._key = key
        self._input_count = input_count
        self._scores = scores
        self._done_before = 0
        self._sent_bytes = 0
        self._offered = False
        self._started_s = time.monotonic()
        self._written_s = self._checked_s = self._started_s

    def of_input(self, number: int, targets: Sequence[explanation_pb2.ClassScore]) -> Report:
        """The report of one input, to be made when the one before it is done."""
        self._done_before = self.last.evaluations_done
        self._offered = False
        return partial(self._report, number, targets)

    def finish(self, answers: Sequence[Answer]) -> None:
        """Takes in the answers of one input."""
        error = largest_error(answers)
        if error is not None:
            self.last.standard_error = error

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
        self.last.evaluations_done = self._done_before + done
        self.last.evaluations_total = total * self._input_count
        speed = self.last.evaluations_done / max(now_s - self._started_s, 1e-9)
        left = max(self.last.evaluations_total - self.last.evaluations_done, 0)
        left_s = left / speed if speed else 0.0
        self.last.time_left.FromNanoseconds(int(left_s * 1e9))
        if self._scores.repeating:
            return
        due = left == 0 or now_s - self._written_s >= PROGRESS_PERIOD_S
        # A job that lasts shows its first map as soon as it has one; the last one is the result.
        early = not self._offered and left_s >= PROGRESS_PERIOD_S
        wanted = left > 0 and (due or early)
        affordable = self._sent_bytes < _MOST_PARTIAL_BYTES
        answers = estimate() if wanted and affordable and estimate is not None else []
        if due or answers:
            self.finish(answers)
            self._written_s = self._checked_s = now_s
            with outlasting_outages():
                # The segments of an input come once, with its first target.
                self._write(
                    [
                        to_partial(
                            answer,
                            number,
                            target,
                            with_segments=not self._offered and target is targets[0],
                        )
                        for target, answer in zip(targets, answers, strict=False)
                    ]
                )
                self._offered = self._offered or bool(answers)
        elif now_s - self._checked_s >= CHECK_PERIOD_S:
            self._checked_s = now_s
            with outlasting_outages():
                if not self._unit.is_held():
                    raise Stopped

    def _write(self, partials: list[explanation_pb2.Attribution]) -> None:
        progressed = explanation_pb2.MethodProgressed(
            key=self._key, progress=self.last, partials=partials
        )
        self._sent_bytes += progressed.ByteSize()
        self._unit.write_progress(progressed)
