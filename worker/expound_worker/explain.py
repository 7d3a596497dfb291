"""The unit ``explain``: predictions, gradient methods, and the tickets of the rest.

It is run for a batch of explanations at once: those of different callers that ask for the same
methods of the same model share the device's forward and backward passes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from expound_worker.batch_attribution import GiveWay, run_method
from expound_worker.batch_prediction import Images, PredictedExplanation, goes_on, predict_all
from expound_worker.failures import describe
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.method import MethodError
from expound_worker.models.registry import Registry
from expound_worker.provenance import provenance
from expound_worker.reader import Reader
from expound_worker.store import Call, Store
from expound_worker.unit import Stopped, Work

HandOut = Callable[[str, int], None]
"""Tells a worker of a method to run: id of the explanation, index of the method."""


def read(works: Sequence[Work], models: Registry, reader: Reader) -> list[Images]:
    """Reads the images of explanations; those for which that fails are ended, and left out.

    Left out are also those that end meanwhile: cancelled, or past their deadline.

    Args:
        works: the unit ``explain`` of explanations of one model.
        models: the worker's models.
        reader: reads the inputs.
    """
    store, found, failures = works[0].unit.store, [], []
    try:
        preprocessing = models.get(works[0].request.model).preprocessing
    except MethodError as error:
        store.run_to_end([work.unit.failing_all(describe(error)) for work in works])
        return []
    requests = [work.request for work in works]
    reading = reader.read(requests, preprocessing, [work.unit.is_held for work in works])
    for work, inputs in zip(works, reading, strict=True):
        if isinstance(inputs, Stopped):
            continue
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
    explanations = predict_all(store, images, models)
    names = [method.WhichOneof("method") for method in images[0].work.request.methods]
    others = [index for index, name in enumerate(names) if name not in GRADIENT_METHODS]
    unsent = [_predicting(explanation) for explanation in explanations]
    if others:
        offers = [explanation.unit.offering(others) for explanation in explanations]
        for explanation, offered in zip(explanations, _send(store, unsent, offers), strict=True):
            for index in offered:
                hand_out(explanation.unit.explanation_id, int(index))
        unsent = []
    for index, name in enumerate(names):
        if name not in GRADIENT_METHODS:
            continue
        if goes_on(index, explanations):
            # The prediction has done most of the work: done before anybody could want to stop it.
            wanted = [(explanation, explanation.unit.within(index)) for explanation in explanations]
        else:
            # What is done is written, and the next method taken, in one round trip.
            claims = [explanation.unit.claiming(index) for explanation in explanations]
            wanted = [
                (explanation, explanation.unit.method(index, claimed[0]))
                for explanation, claimed in zip(
                    explanations, _send(store, unsent, claims), strict=True
                )
                if claimed
            ]
            unsent = []
        unsent += run_method(index, wanted, give_way)
    store.run_to_end([*unsent, *(explanation.unit.succeeding() for explanation in explanations)])


def _send(store: Store, unsent: Sequence[Call], calls: Sequence[Call]) -> list[Any]:
    """Sends what is unsent and then the calls, in one round trip; gives the answers to the calls.

    What one explanation is told does not touch the others: each has its calls in their order.
    """
    return store.run_all([*unsent, *calls])[len(unsent) :]


def _predicting(explanation: PredictedExplanation) -> Call:
    made_of = provenance(explanation.unit, explanation.request, explanation.model)
    return explanation.unit.predicting(explanation.predictions, made_of)
