"""The unit of one perturbation method: a job that tells how far it is, and can be stopped."""

import threading

import redis
import torch

from expound import tasks
from expound.v1 import explanation_pb2
from expound_worker.attributions import Attributions
from expound_worker.checkpoints import Scores, checkpointed
from expound_worker.failures import describe, method_path
from expound_worker.images import Decode, prepare
from expound_worker.methods.catalogue import PERTURBATION_METHODS
from expound_worker.models.model import Model
from expound_worker.models.registry import Registry
from expound_worker.predictions import explained, predict
from expound_worker.progress import JobProgress
from expound_worker.provenance import provenance
from expound_worker.unit import Released, Stopped, Work
from expound_worker.versions import Predictions, take_over


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
    attributions = Attributions(request, model.preprocessing)
    progress = JobProgress(work.unit, method.key, len(request.inputs), scores)
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
