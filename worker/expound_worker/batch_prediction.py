"""Predicts for a batch of explanations at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import redis
import torch
from torch import Tensor

from expound import tasks
from expound.v1 import explanation_pb2, method_pb2
from expound_worker.batches import in_halves
from expound_worker.failures import describe
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.forward import SHARING, Forward
from expound_worker.models.model import Model
from expound_worker.models.registry import Registry
from expound_worker.predictions import explained, predict
from expound_worker.process.threads import compute_on
from expound_worker.provenance import provenance
from expound_worker.store import Store
from expound_worker.unit import Released, Stopped, Unit, Work
from expound_worker.versions import take_over


class Images(NamedTuple):
    """A claimed unit ``explain``, and what enters the network of each of its inputs."""

    work: Work
    inputs: Sequence[Tensor]


@dataclass(frozen=True)
class PredictedExplanation:
    """One explanation of the batch, its images read and its classes predicted."""

    unit: Unit
    request: explanation_pb2.ExplainRequest
    model: Model
    inputs: Tensor
    predictions: Sequence[explanation_pb2.Prediction]
    targets: Sequence[Sequence[explanation_pb2.ClassScore]]
    forward: Forward | None
    """The pass that predicted, kept for methods that go on from it; of other explanations too."""


def predict_all(
    store: Store, images: Sequence[Images], models: Registry
) -> list[PredictedExplanation]:
    """Predicts; explanations for which that fails are ended."""
    explanations, failures = [], []
    outcomes = in_halves(partial(_predict_together, models), images)
    for (work, _), outcome in zip(images, outcomes, strict=True):
        try:
            explanations.append(_own(outcome))
        except (Stopped, redis.RedisError):
            # No longer this worker's, or it is no more when the lease has run out.
            continue
        except Released as released:
            work.unit.release(later=released.later)
        except Exception as error:
            failures.append(work.unit.failing_all(describe(error)))
    store.run_to_end(failures)
    return explanations


def goes_on(index: int, explanations: Sequence[PredictedExplanation]) -> bool:
    """Whether a method goes on from the pass that predicted."""
    if not explanations or explanations[0].forward is None:
        return False
    return _needs_one_pass(explanations[0].request.methods[index])


def _own(outcome: PredictedExplanation | Exception) -> PredictedExplanation:
    """What is this worker's to go on with. Raises the outcome, or as `take_over` does."""
    if isinstance(outcome, Exception):
        raise outcome
    unit, model = outcome.unit, outcome.model
    if unit.attempt > 1:
        made_of = provenance(unit, outcome.request, model)
        take_over(unit, tasks.GRADIENT, model, made_of, lambda: outcome.predictions)
    return outcome


def _predict_together(models: Registry, images: Sequence[Images]) -> list[PredictedExplanation]:
    works = [some.work for some in images]
    model = models.get(works[0].request.model)
    inputs = torch.stack([image for some in images for image in some.inputs]).to(model.device)
    compute_on(model.cores_for(len(inputs)))
    sizes = [len(some.inputs) for some in images]
    forward = _forward(model, inputs) if _shares(works[0].request, inputs, model) else None
    if forward:
        all_logits = forward.logits.detach()
    elif _has_gradients(works[0].request):
        all_logits = model.float32_logits(inputs)
    else:
        all_logits = model.logits(inputs)
    explanations = []
    for work, own, logits in zip(works, inputs.split(sizes), all_logits.split(sizes), strict=True):
        target = work.request.target
        predictions = predict(model, logits, target)
        targets = explained(model, predictions, target)
        explanations.append(
            PredictedExplanation(work.unit, work.request, model, own, predictions, targets, forward)
        )
    return explanations


def _has_gradients(request: explanation_pb2.ExplainRequest) -> bool:
    """Whether a map of the scores that are predicted will be of their gradients."""
    return any(method.WhichOneof("method") in GRADIENT_METHODS for method in request.methods)


def _shares(request: explanation_pb2.ExplainRequest, inputs: Tensor, model: Model) -> bool:
    """Whether a method goes on from the forward pass that predicts."""
    return len(inputs) <= model.batch_size and any(map(_needs_one_pass, request.methods))


def _needs_one_pass(method: method_pb2.Method) -> bool:
    name = method.WhichOneof("method")
    return name in SHARING and not getattr(method, name).HasField("noise_tunnel")


def _forward(model: Model, inputs: Tensor) -> Forward | None:
    """The pass that predicts; None where memory does not suffice to keep all of it."""
    try:
        return Forward.run(model, inputs)
    except torch.OutOfMemoryError:
        return None
