"""The unit of one perturbation method: a job that tells how far it is, and can be stopped."""

import threading
import time
from collections.abc import Sequence
from functools import partial

import torch

from expound.v1 import explanation_pb2
from expound_worker.attributions import to_attribution, to_partial
from expound_worker.checkpoints import Scores, checkpointed
from expound_worker.explain import find_model, method_path
from expound_worker.failures import describe
from expound_worker.images import Decode, prepare
from expound_worker.methods.catalogue import PERTURBATION_METHODS
from expound_worker.methods.method import Answer, Estimate, Report, largest_error
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
        progress.finish(answers)
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
        self._offered = False
        self._started_s = time.monotonic()
        self._written_s = float("-inf")
        self._checked_s = self._started_s

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
        self.last.time_left.FromNanoseconds(int(left / speed * 1e9) if speed else 0)
        if self._scores.repeating:
            return
        due = left == 0 or now_s - self._written_s >= PROGRESS_PERIOD_S
        # What is wanted of a job that has shown nothing yet is its first map. The last one is the
        # result, which comes at once.
        wanted = left > 0 and (due or not self._offered)
        answers = estimate() if wanted and estimate is not None else []
        if due or answers:
            self.finish(answers)
            self._write(
                [
                    to_partial(answer, number, target, with_segments=not self._offered)
                    for target, answer in zip(targets, answers, strict=False)
                ]
            )
            self._offered = self._offered or bool(answers)
            self._written_s = self._checked_s = now_s
        elif now_s - self._checked_s >= CHECK_PERIOD_S:
            self._unit.check()
            self._checked_s = now_s

    def _write(self, partials: list[explanation_pb2.Attribution]) -> None:
        self._unit.write_progress(
            explanation_pb2.MethodProgressed(key=self._key, progress=self.last, partials=partials)
        )
