"""The unit ``explain``: predictions, gradient methods, and the tickets of the rest.

It is run for a batch of explanations at once: those of different callers that ask for the same
methods of the same model share the device's forward and backward passes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import redis
import torch
from torch import Tensor

from expound import tasks
from expound.reasons import Reason
from expound.v1 import explanation_pb2, method_pb2
from expound_worker.attributions import to_attribution
from expound_worker.batches import in_halves
from expound_worker.failures import describe
from expound_worker.images import Reader
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.gradients import SHARING, Forward
from expound_worker.methods.method import Answer, Batch, MethodError
from expound_worker.models.model import Model
from expound_worker.models.registry import Registry
from expound_worker.pause import Pause
from expound_worker.predictions import explained, predict
from expound_worker.provenance import provenance
from expound_worker.store import Call, Store
from expound_worker.threads import compute_on
from expound_worker.unit import Released, Stopped, Unit, Work
from expound_worker.versions import take_over

HandOut = Callable[[str, int], None]
"""Tells a worker of a method to run: id of the explanation, index of the method."""

GiveWay = Callable[[], None]
"""Lets others have the device for a step. May raise Released."""


class Images(NamedTuple):
    """A claimed unit ``explain``, and what enters the network of each of its inputs."""

    work: Work
    inputs: Sequence[Tensor]


@dataclass(frozen=True)
class _Explanation:
    """One explanation of the batch, its images read and its classes predicted."""

    unit: Unit
    request: explanation_pb2.ExplainRequest
    model: Model
    inputs: Tensor
    predictions: Sequence[explanation_pb2.Prediction]
    targets: Sequence[Sequence[explanation_pb2.ClassScore]]
    forward: Forward | None
    """The pass that predicted, kept for methods that go on from it; of other explanations too."""


class _Pair(NamedTuple):
    """An input and a class: number of the explanation, of its input, and the class."""

    explanation: int
    input: int
    score: explanation_pb2.ClassScore


def read(works: Sequence[Work], models: Registry, reader: Reader) -> list[Images]:
    """Reads the images of explanations; those for which that fails are ended, and left out.

    Args:
        works: the unit ``explain`` of explanations of one model.
        models: the worker's models.
        reader: reads the inputs.
    """
    store, found, failures = works[0].unit.store, [], []
    try:
        preprocessing = find_model(works[0].request, models).preprocessing
    except MethodError as error:
        store.run_to_end([work.unit.failing_all(describe(error)) for work in works])
        return []
    reading = reader.read([work.request for work in works], preprocessing)
    for work, inputs in zip(works, reading, strict=True):
        if isinstance(inputs, Exception):
            failures.append(work.unit.failing_all(describe(inputs)))
        else:
            found.append(Images(work, inputs))
    store.run_to_end(failures)
    return found


def run(images: Sequence[Images], models: Registry, hand_out: HandOut, give_way: GiveWay) -> None:
    """Predicts, explains by gradients, and hands out every other method.

    What is wrong with one explanation does not touch the others: an error before its first method
    fails it whole, an error of a method fails that method alone.

    Args:
        images: explanations of one model, with the same methods and seed, and their images.
        models: the worker's models.
        hand_out: called for every method that others are to run.
        give_way: called between passes of what lasts. What it raises Released for is given back.
    """
    store = images[0].work.unit.store
    explanations = _predict(store, images, models)
    names = [method.WhichOneof("method") for method in images[0].work.request.methods]
    others = [index for index, name in enumerate(names) if name not in GRADIENT_METHODS]
    done = [[_predicting(explanation)] for explanation in explanations]
    if others:
        done = [
            [*calls, explanation.unit.offering(others)]
            for explanation, calls in zip(explanations, done, strict=True)
        ]
        for explanation, written in zip(explanations, _call(store, done), strict=True):
            for index in others if written else ():
                hand_out(explanation.unit.explanation_id, index)
        done = [[] for _ in explanations]
    units: list[Unit | None]
    for index, name in enumerate(names):
        if name not in GRADIENT_METHODS:
            continue
        if _goes_on(index, explanations):
            # The prediction has done most of the work: done before anybody could want to stop it.
            units = [explanation.unit.within(index) for explanation in explanations]
            more = _run_method(index, explanations, units, give_way)
            done = [[*calls, *ends] for calls, ends in zip(done, more, strict=True)]
        else:
            # What is done is written, and the next method taken, in one round trip.
            claims = [[explanation.unit.claiming(index)] for explanation in explanations]
            units = [
                explanation.unit.method(index, claim[0]) if claim else None
                for explanation, claim in zip(explanations, _call(store, done, claims), strict=True)
            ]
            done = _run_method(index, explanations, units, give_way)
    ends = [
        [*calls, explanation.unit.succeeding()]
        for calls, explanation in zip(done, explanations, strict=True)
    ]
    store.run_to_end(list(chain.from_iterable(ends)))


def find_model(request: explanation_pb2.ExplainRequest, models: Registry) -> Model:
    """The model of a request. Raises MethodError when this worker does not have it."""
    model = models.get(request.model.removeprefix("models/"))
    if model is None:
        known = ", ".join(model.name for model in models)
        raise MethodError(
            Reason.MODEL_NOT_FOUND, f"this worker does not serve {request.model}, but {known}"
        )
    return model


def method_path(request: explanation_pb2.ExplainRequest, index: int) -> str:
    """Path of a method's message in its request: "methods[2].lime"."""
    return f"methods[{index}].{request.methods[index].WhichOneof('method')}"


def _call(store: Store, *calls: Sequence[Sequence[Call]]) -> list[Any]:
    """Runs lists of calls, one list an explanation, and gives the last answer of each."""
    of_each = [[call for some in lists for call in some] for lists in zip(*calls, strict=True)]
    answers = iter(store.run_all([call for some in of_each for call in some]))
    return [list(islice(answers, len(some)))[-1] for some in of_each]


def _predict(store: Store, images: Sequence[Images], models: Registry) -> list[_Explanation]:
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


def _own(outcome: _Explanation | Exception) -> _Explanation:
    """What is this worker's to go on with. Raises the outcome, or as `take_over` does."""
    if isinstance(outcome, Exception):
        raise outcome
    unit, model = outcome.unit, outcome.model
    if unit.attempt > 1:
        made_of = provenance(unit, outcome.request, model)
        take_over(unit, tasks.GRADIENT, model, made_of, lambda: outcome.predictions)
    return outcome


def _predict_together(models: Registry, images: Sequence[Images]) -> list[_Explanation]:
    works = [some.work for some in images]
    model = find_model(works[0].request, models)
    inputs = torch.stack([image for some in images for image in some.inputs]).to(model.device)
    compute_on(model.cores_for(len(inputs)))
    sizes = [len(some.inputs) for some in images]
    forward = _forward(model, inputs) if _shares(works[0].request, inputs, model) else None
    all_logits = forward.logits.detach() if forward else model.logits(inputs)
    explanations = []
    for work, own, logits in zip(works, inputs.split(sizes), all_logits.split(sizes), strict=True):
        target = work.request.target
        predictions = predict(model, logits, target)
        targets = explained(model, predictions, target)
        explanations.append(
            _Explanation(work.unit, work.request, model, own, predictions, targets, forward)
        )
    return explanations


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


def _run_method(
    index: int,
    explanations: Sequence[_Explanation],
    units: Sequence[Unit | None],
    give_way: GiveWay,
) -> list[list[Call]]:
    """Runs one method on the explanations that still want it; gives the calls that end it.

    Args:
        index: index of the method.
        explanations: the explanations.
        units: the method of each as a unit of work; None where it is not wanted any more.
        give_way: as of `run`.
    """
    wanted = [number for number, unit in enumerate(units) if unit]
    pause = Pause([explanations[number].unit for number in wanted], give_way)
    results = in_halves(
        partial(_attribute, index, pause), [explanations[number] for number in wanted]
    )
    of_wanted = dict(zip(wanted, results, strict=True))
    return [
        _ending(unit, index, explanation, of_wanted[number]) if unit else []
        for number, (unit, explanation) in enumerate(zip(units, explanations, strict=True))
    ]


def _ending(
    unit: Unit,
    index: int,
    explanation: _Explanation,
    result: explanation_pb2.MethodResult | Exception,
) -> list[Call]:
    if isinstance(result, Stopped):
        return []
    if isinstance(result, Released):
        return [explanation.unit.releasing()]
    if isinstance(result, Exception):
        return [unit.failing(describe(result, method_path(explanation.request, index)))]
    return [unit.succeeding(result)]


def _attribute(
    index: int, pause: Pause, explanations: Sequence[_Explanation]
) -> list[explanation_pb2.MethodResult]:
    """Runs a method on every pair of an input and a target, in batches of the model's size.

    A batch that does not fit into the device's memory is halved, and so are those after it.
    """
    model, request = explanations[0].model, explanations[0].request
    method = request.methods[index]
    name = method.WhichOneof("method") or ""
    results = [explanation_pb2.MethodResult() for _ in explanations]
    pairs = [
        _Pair(number, input_index, score)
        for number, explanation in enumerate(explanations)
        for input_index, scores in enumerate(explanation.targets)
        for score in scores
    ]
    forward = _forward_of(explanations, len(pairs))
    compute_on(model.cores_for(len(pairs) if forward else model.batch_size))

    def attribute(start: int, end: int) -> list[tuple[_Pair, Answer]]:
        pause()
        some = pairs[start:end]
        batch = Batch(
            inputs=torch.stack(
                [explanations[pair.explanation].inputs[pair.input] for pair in some]
            ),
            targets=torch.tensor([pair.score.index for pair in some], device=model.device),
            logits=[pair.score.logit for pair in some],
            forward=forward if len(some) == len(pairs) else None,
            pause=pause,
        )
        answers = GRADIENT_METHODS[name].attribute(
            model, batch, getattr(method, name), request.seed
        )
        return list(zip(some, answers, strict=True))

    for pair, answer in chain(*model.batch.run(len(pairs), attribute)):
        result = results[pair.explanation]
        result.attributions.append(to_attribution(answer, pair.input, pair.score, request.output))
        result.progress.evaluations_done += answer.evaluations
    for result in results:
        result.progress.evaluations_total = result.progress.evaluations_done
    return results


def _forward_of(explanations: Sequence[_Explanation], pair_count: int) -> Forward | None:
    """The pass that predicted, if it was of just these inputs, and each has one target."""
    (forward, *others) = {explanation.forward for explanation in explanations}
    if others or forward is None or len(forward.inputs) != pair_count:
        return None
    counts = (len(targets) for explanation in explanations for targets in explanation.targets)
    return forward if all(count == 1 for count in counts) else None


def _goes_on(index: int, explanations: Sequence[_Explanation]) -> bool:
    """Whether a method goes on from the pass that predicted."""
    if not explanations or explanations[0].forward is None:
        return False
    return _needs_one_pass(explanations[0].request.methods[index])


def _predicting(explanation: _Explanation) -> Call:
    made_of = provenance(explanation.unit, explanation.request, explanation.model)
    return explanation.unit.predicting(explanation.predictions, made_of)
