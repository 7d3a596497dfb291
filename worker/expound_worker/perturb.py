"""The unit of one perturbation method: a job that tells how far it is, and can be stopped."""

import threading
import time
from collections.abc import Callable, Sequence

import torch

from expound.v1 import explanation_pb2
from expound_worker.attributions import to_attribution, to_partial
from expound_worker.checkpoints import Scores, checkpointed
from expound_worker.explain import find_model, method_path
from expound_worker.failures import describe
from expound_worker.images import Decode, prepare
from expound_worker.methods.catalogue import PERTURBATION_METHODS
from expound_worker.methods.method import Answer
from expound_worker.models.registry import Registry
from expound_worker.predictions import explained
from expound_worker.store import Released, Stopped, Unit, Work

PROGRESS_PERIOD_S = 0.25
CHECK_PERIOD_S = 0.05


def run(
    work: Work, index: int, models: Registry, decode: Decode, stopping: threading.Event
) -> None:
    """Runs method number `index` of the request on every input, and writes what it finds.

    When the worker stops, or needs the device for itself, the method is given back.
    """
    try:
        try:
            result = _attribute(work, index, models, decode, Scores(work.unit, stopping))
        except Stopped:
            raise
        except Released:
            work.unit.release()
            return
        except Exception as error:
            end = work.unit.failing(describe(error, method_path(work.request, index)))
        else:
            end = work.unit.succeeding(result)
    except Stopped:
        return
    # Nothing is left to do where it is no longer this worker's to end.
    work.unit.store.run_all([end])


def _attribute(
    work: Work, index: int, models: Registry, decode: Decode, scores: Scores
) -> explanation_pb2.MethodResult:
    request = work.request
    model = checkpointed(find_model(request, models), scores)
    method = request.methods[index]
    name = method.WhichOneof("method") or ""
    targets = explained(model, work.predictions.predictions, request.target)
    result = explanation_pb2.MethodResult()
    progress = _Progress(work.unit, method.key, len(request.inputs), scores)
    for number, (source, classes) in enumerate(zip(request.inputs, targets, strict=True)):
        image = prepare(source, number, model.preprocessing, decode).to(model.device)
        with torch.inference_mode():
            answers = PERTURBATION_METHODS[name].attribute(
                model,
                image,
                [score.index for score in classes],
                getattr(method, name),
                request.seed,
                progress.of_input(number, classes),
            )
        for score, answer in zip(classes, answers, strict=True):
            result.attributions.append(to_attribution(answer, number, score, request.output))
    result.progress.CopyFrom(progress.last)
    result.progress.ClearField("time_left")
    return result


class _Progress:
    """Writes the progress of a method over all its inputs, not more often than is of use."""

    def __init__(self, unit: Unit, key: str, input_count: int, scores: Scores) -> None:
        self.last = explanation_pb2.Progress()
        self._unit = unit
        self._key = key
        self._input_count = input_count
        self._scores = scores
        self._done_before = 0
        self._started_s = time.monotonic()
        self._written_s = float("-inf")
        self._checked_s = self._started_s

    def of_input(
        self, number: int, targets: Sequence[explanation_pb2.ClassScore]
    ) -> "_InputProgress":
        """The report of one input, to be made when the one before it is done."""
        self._done_before = self.last.evaluations_done
        return _InputProgress(self, number, targets)

    def update(
        self,
        done: int,
        total: int,
        standard_error: float | None,
        partials: Callable[[], list[explanation_pb2.Attribution]],
    ) -> None:
        """Takes in what one input reports. Raises Stopped."""
        now_s = time.monotonic()
        self.last.evaluations_done = self._done_before + done
        self.last.evaluations_total = total * self._input_count
        if standard_error is not None:
            self.last.standard_error = standard_error
        speed = self.last.evaluations_done / max(now_s - self._started_s, 1e-9)
        left = max(self.last.evaluations_total - self.last.evaluations_done, 0)
        self.last.time_left.FromNanoseconds(int(left / speed * 1e9) if speed else 0)
        if self._scores.repeating:
            return
        if now_s - self._written_s >= PROGRESS_PERIOD_S or left == 0:
            self._unit.write_progress(
                explanation_pb2.MethodProgressed(
                    key=self._key, progress=self.last, partials=partials()
                )
            )
            self._written_s = self._checked_s = now_s
        elif now_s - self._checked_s >= CHECK_PERIOD_S:
            self._unit.check()
            self._checked_s = now_s


class _InputProgress:
    """The `Report` of one input."""

    def __init__(
        self, progress: _Progress, number: int, targets: Sequence[explanation_pb2.ClassScore]
    ) -> None:
        self._progress = progress
        self._number = number
        self._targets = targets
        self._segments_sent = False

    def __call__(
        self,
        done: int,
        total: int,
        standard_error: float | None = None,
        estimate: Callable[[], Sequence[Answer]] | None = None,
    ) -> None:
        """Reports; see `Report`. Raises Stopped."""
        self._progress.update(done, total, standard_error, lambda: self._partials(estimate))

    def _partials(
        self, estimate: Callable[[], Sequence[Answer]] | None
    ) -> list[explanation_pb2.Attribution]:
        if estimate is None:
            return []
        answers = estimate()
        partials = [
            to_partial(answer, self._number, target, with_segments=not self._segments_sent)
            for target, answer in zip(self._targets, answers, strict=True)
        ]
        self._segments_sent = True
        return partials
