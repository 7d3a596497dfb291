"""LRP on torchvision's classifiers: conservative, or the figure in a warning or a refusal."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import method_pb2 as m
from expound_worker.methods.lrp import REFUSED, WARNED, Lrp
from expound_worker.methods.method import Batch, MethodError
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.propagation.lrp.composites import epsilon_everywhere
from expound_worker.propagation.lrp.layers import Bounds
from expound_worker.propagation.lrp.propagate import relevance
from tests.numeric.classifiers import DOZEN, build
from tests.numeric.models import make_model, resolved

COMPOSITES = (
    m.Lrp.COMPOSITE_EPSILON_PLUS_FLAT,
    m.Lrp.COMPOSITE_EPSILON_GAMMA_BOX,
    m.Lrp.COMPOSITE_EPSILON,
)
_KEPT_BY_SOFTMAX = {"vit_b_32", "swin_t"}
_CONSTANTS = ("bias", "running_mean", "class_token", "pos_embedding")


@pytest.fixture(scope="module", params=DOZEN)
def classifier(request: pytest.FixtureRequest) -> tuple[str, Model]:
    """Name and model of one of the dozen; tests leave it as it is."""
    module, size = build(request.param)
    preprocessing = Preprocessing((3, size, size), resize=None, mean=(0.5,) * 3, std=(0.25,) * 3)
    return request.param, make_model(module, preprocessing, batch_size=4)


def noise(model: Model) -> Tensor:
    return torch.randn(1, *model.input_shape, generator=torch.Generator().manual_seed(1))


def test_every_map_says_how_much_of_the_score_it_holds(classifier: tuple[str, Model]) -> None:
    _, model = classifier
    inputs = noise(model)
    logits = model.logits(inputs)
    targets = logits.argmax(1)
    batch = Batch(inputs, targets, logits.amax(1).tolist())
    for composite in COMPOSITES:
        parameters = resolved(m.Method(lrp=m.Lrp(composite=composite))).lrp
        try:
            (answer,) = Lrp().attribute(model, batch, parameters, seed=0)
        except MethodError as refusal:
            assert composite == m.Lrp.COMPOSITE_EPSILON
            assert refusal.reason is Reason.NOT_COMPLETE
            assert float(refusal.metadata["completeness_error"]) >= REFUSED
            continue
        output, total = batch.logits[0], float(answer.values.astype(np.float64).sum())
        error = abs(total - output) / abs(output)
        assert answer.output == output
        assert answer.completeness_error == pytest.approx(error)
        assert error < REFUSED
        assert bool(answer.warnings) == (error > WARNED)
        assert not answer.warnings or f"{total / output:.2%} of the score" in answer.warnings[0]


def test_nothing_is_lost_but_what_biases_and_softmax_keep(classifier: tuple[str, Model]) -> None:
    name, model = classifier
    module = copy.deepcopy(model.module).double()
    for key, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if key.endswith(_CONSTANTS):
            tensor.zero_()
    inputs = noise(model).double()
    bounds = Bounds(inputs, inputs)
    values, scores = relevance(module, inputs, torch.tensor([3]), epsilon_everywhere(1e-9), bounds)
    output = float(scores[0, 3])
    error = abs(float(values.sum()) - output) / abs(output)
    assert (error > 0.01) if name in _KEPT_BY_SOFTMAX else (error < 1e-3)
