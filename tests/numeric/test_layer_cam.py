"""LayerCAM equals the paper's sum, computed unit by unit."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expound.v1 import method_pb2 as m
from expound_worker.methods.layer_cam import LayerCam
from expound_worker.methods.method import Answer, Batch
from expound_worker.models.model import Model
from tests.numeric.cuts import Classifier, close
from tests.numeric.models import resolved


def explained(model: Model, batch: Batch) -> list[Answer]:
    return LayerCam().attribute(model, batch, resolved(m.LayerCam()), seed=0)


def literal(maps: Tensor, gradients: Tensor) -> NDArray[np.float64]:
    """(h, w) of one input, one position of one channel at a time."""
    total = np.zeros(maps.shape[1:])
    for channel, gradient in zip(maps.double().numpy(), gradients.double().numpy(), strict=True):
        for place in np.ndindex(total.shape):
            total[place] += max(gradient[place], 0) * channel[place]
    return np.maximum(total, 0)


def test_values_are_the_papers(classifier: Classifier) -> None:
    for answer, coarse in classifier.answers_beside(explained, literal):
        assert answer.layer == classifier.cut.layer
        assert close(answer.values, classifier.enlarged(coarse))
        assert answer.evaluations == 1
