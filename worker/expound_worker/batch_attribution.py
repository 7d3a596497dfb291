"""Runs a gradient method for a batch of explanations at once."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import torch

from expound.v1 import explanation_pb2
from expound_worker.attributions import Attributions
from expound_worker.batch_prediction import PredictedExplanation
from expound_worker.batches import in_halves
from expound_worker.failures import describe, method_path
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.forward import Forward
from expound_worker.methods.method import Answer, Batch
from expound_worker.pause import Pause
from expound_worker.process.threads import compute_on
from expound_worker.store import Call
from expound_worker.unit import Released, Stopped, Unit

GiveWay = Callable[[], None]
"""Lets others have the device for a step. May raise Released."""


class _Pair(NamedTuple):
    """An input and a class: number of the explanation, of its input, and the class."""

    explanation: int
    input: int
    score: explanation_pb2.ClassScore


def run_method(
    index: int, wanted: Sequence[tuple[PredictedExplanation, Unit]], give_way: GiveWay
) -> list[Call]:
    """Runs one method for several explanations; gives the calls that end it.

    Args:
        index: index of the method.
        wanted: the explanations, each with the method as its unit of work.
        give_way: called between passes of what lasts.
    """
    explanations = [explanation for explanation, _ in wanted]
    pause = Pause([explanation.unit for explanation in explanations], give_way)
    results = in_halves(partial(_attribute, index, pause), explanations)
    return [
        _ending(explanation, unit, index, result)
        for (explanation, unit), result in zip(wanted, results, strict=True)
        if not isinstance(result, Stopped)
    ]


def _ending(
    explanation: PredictedExplanation,
    unit: Unit,
    index: int,
    result: explanation_pb2.MethodResult | Exception,
) -> Call:
    if isinstance(result, Released):
        return explanation.unit.releasing()
    if isinstance(result, Exception):
        return unit.failing(describe(result, method_path(explanation.request, index)))
    return unit.succeeding(result)


def _attribute(
    index: int, pause: Pause, explanations: Sequence[PredictedExplanation]
) -> list[explanation_pb2.MethodResult]:
    """Runs a method on every pair of an input and a target, in batches of the model's size.

    A batch that does not fit into the device's memory is halved, and so are those after it.
    """
    model, request = explanations[0].model, explanations[0].request
    method = request.methods[index]
    name = method.WhichOneof("method") or ""
    attributions = [
        Attributions(explanation.request, model.preprocessing) for explanation in explanations
    ]
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
        attributions[pair.explanation].add(answer, pair.input, pair.score)
        result = attributions[pair.explanation].result
        result.progress.evaluations_done += answer.evaluations
    results = [each.result for each in attributions]
    for result in results:
        result.progress.evaluations_total = result.progress.evaluations_done
    return results


def _forward_of(explanations: Sequence[PredictedExplanation], pair_count: int) -> Forward | None:
    """The pass that predicted, if it was of just these inputs, and each has one target."""
    (forward, *others) = {explanation.forward for explanation in explanations}
    if others or forward is None or len(forward.inputs) != pair_count:
        return None
    counts = (len(targets) for explanation in explanations for targets in explanation.targets)
    return forward if all(count == 1 for count in counts) else None
