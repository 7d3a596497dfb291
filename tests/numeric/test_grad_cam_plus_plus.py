"""Grad-CAM++ equals the paper's weights, computed unit by unit."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.grad_cam_plus_plus import GradCamPlusPlus
from expound_worker.methods.method import Answer, Batch
from expound_worker.models.model import Model
from tests.numeric.cuts import Classifier, close
from tests.numeric.models import resolved


def explained(model: Model, batch: Batch) -> list[Answer]:
    return GradCamPlusPlus().attribute(model, batch, resolved(m.GradCamPlusPlus()), seed=0)


def literal(maps: Tensor, gradients: Tensor) -> NDArray[np.float64]:
    """(h, w) of one input, with the paper's quotient of powers."""
    total = np.zeros(maps.shape[1:])
    for channel, gradient in zip(maps.double().numpy(), gradients.double().numpy(), strict=True):
        weight = 0.0
        for g in gradient.flat:
            if g > 0:
                weight += g * g**2 / (2 * g**2 + g**3 * max(channel.sum(), 0))
        total += weight * channel
    return np.maximum(total, 0)


def test_values_are_the_papers(classifier: Classifier) -> None:
    for answer, coarse in classifier.answers_beside(explained, literal):
        assert answer.layer == classifier.cut.layer
        assert close(answer.values, classifier.enlarged(coarse))
        assert answer.evaluations == 1
