"""The maps of a batch are those of each explanation alone, whatever became of the others."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
import torch

from expound import parameters
from expound.tensors import from_tensor, to_tensor
from expound.v1 import explanation_pb2
from expound.v1 import method_pb2 as m
from expound_worker.batch_attribution import _attribute
from expound_worker.batch_prediction import PredictedExplanation
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.forward import Forward
from expound_worker.methods.method import no_pause
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.model import Model
from expound_worker.pause import Pause
from expound_worker.predictions import explained, predict
from expound_worker.store import Store
from expound_worker.unit import Unit
from tests.numeric.models import cifar_net, resolved, with_module

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _maps(explanations: Sequence[PredictedExplanation]) -> list[np.ndarray]:
    results = _attribute(0, cast(Pause, no_pause), explanations)
    return [from_tensor(each.values) for result in results for each in result.attributions]


def _alike(model: Model, request: explanation_pb2.ExplainRequest) -> list[PredictedExplanation]:
    """The same request about each of the images."""
    with torch.inference_mode():
        predictions = predict(model, model.module(IMAGES), request.target)
    targets = explained(model, predictions, request.target)
    unit = Unit(cast(Store, None), "a", "explain", 1)
    rows = [slice(number, number + 1) for number in range(len(IMAGES))]
    return [
        PredictedExplanation(
            unit, request, model, IMAGES[row], predictions[row], targets[row], None
        )
        for row in rows
    ]


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_the_maps_of_a_batch_are_within_a_hundred_thousandth_of_those_alone(name: str) -> None:
    """What the documents promise, of the largest value of a map."""
    model = cifar_net()
    model = with_module(model, model.module, batch=BatchSize(len(IMAGES)))
    request = explanation_pb2.ExplainRequest(
        inputs=[explanation_pb2.Input(tensor=to_tensor(IMAGES[0].numpy()))]
    )
    request.target.top_k = 1
    getattr(request.methods.add(key=name), name).SetInParent()
    parameters.resolve(request.methods[0])
    explanations = _alike(model, request)
    together = _maps(explanations)
    assert len(together) == len(IMAGES)
    for values, explanation in zip(together, explanations, strict=True):
        (alone,) = _maps([explanation])
        assert np.abs(values - alone).max() <= 1e-5 * np.abs(alone).max()


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("top_k", [1, 2])
def test_the_pass_of_a_batch_is_not_taken_for_that_of_a_part(top_k: int, batch_size: int) -> None:
    """Of two with two targets, one alone has as many pairs as the pass has inputs."""
    model = cifar_net()
    model = with_module(model, model.module, batch=BatchSize(batch_size))
    request = explanation_pb2.ExplainRequest(
        inputs=[explanation_pb2.Input(tensor=to_tensor(IMAGES[0].numpy()))]
    )
    request.target.top_k = top_k
    request.methods.add(key="saliency", saliency=resolved(m.Saliency()))
    forward = Forward.run(model, IMAGES)
    predictions = predict(model, forward.logits.detach(), request.target)
    targets = explained(model, predictions, request.target)
    unit = Unit(cast(Store, None), "a", "explain", 1)

    def explanation(number: int, forward: Forward | None) -> PredictedExplanation:
        here = slice(number, number + 1)
        return PredictedExplanation(
            unit, request, model, IMAGES[here], predictions[here], targets[here], forward
        )

    both = [explanation(number, forward) for number in (0, 1)]
    alone = [map_ for number in (0, 1) for map_ in _maps([explanation(number, None)])]
    for found in (_maps(both), _maps(both[:1]) + _maps(both[1:])):
        assert len(found) == 2 * top_k
        for values, expected in zip(found, alone, strict=True):
            np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5)
