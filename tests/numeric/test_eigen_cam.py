"""Eigen-CAM equals a projection on the first component, found by way of the positions."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.eigen_cam import EigenCam
from expound_worker.methods.method import LOGIT, Answer, Batch
from expound_worker.models.model import Model
from tests.numeric.cuts import Classifier, close
from tests.numeric.gradients import batch_of
from tests.numeric.models import resolved


def explained(model: Model, batch: Batch) -> list[Answer]:
    return EigenCam().attribute(model, batch, resolved(m.EigenCam()), seed=0)


def literal(maps: Tensor, _gradients: Tensor) -> NDArray[np.float64]:
    """(h, w) of one input, by the products of positions: ``A v = U S``."""
    by_position = maps.flatten(1).T.double().numpy()
    squares, vectors = np.linalg.eigh(by_position @ by_position.T)
    projection = np.sqrt(squares[-1]) * vectors[:, -1]
    coarse: NDArray[np.float64] = projection.reshape(maps.shape[1:])
    return coarse if coarse.sum() > 0 else -coarse


def test_values_are_the_projection_on_the_first_component(classifier: Classifier) -> None:
    for answer, coarse in classifier.answers_beside(explained, literal):
        assert answer.layer == classifier.cut.layer
        assert close(answer.values, classifier.enlarged(coarse))
        assert answer.evaluations == 1


def test_the_map_is_the_same_for_every_target(cifar: Model, thumbnail: Tensor) -> None:
    batch = batch_of(cifar, thumbnail, thumbnail, targets=[1, 7])
    first, second = explained(cifar, batch)
    assert np.array_equal(first.values, second.values)
    assert [first.output, second.output] == batch.logits
    assert first.score == LOGIT
