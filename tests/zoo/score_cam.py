"""Score-CAM in the zoo: at a layer of few channels, as each of them is a mask to evaluate."""

from expound.v1 import method_pb2 as m
from expound_worker.methods.method import Answer
from expound_worker.models.model import Layer, Model
from tests.numeric import test_score_cam
from tests.numeric.models import make_model
from tests.zoo.checks import Check, difference
from tests.zoo.layers import maps_of, to_size
from tests.zoo.subject import BATCH_SIZE, Subject

_MANY_CHANNELS = 128


def parameters(subject: Subject) -> m.ScoreCam:
    """At the layer of the fewest channels."""
    return m.ScoreCam(layer=_narrowest(model(subject)).name)


def model(subject: Subject) -> Model:
    """The classifier; with a layer of a few channels beside it, where its own have many."""
    own = subject.model
    if not own.layers or _narrowest(own).output_shape[0] <= _MANY_CHANNELS:
        return own
    return make_model(test_score_cam.Masked(own.module), own.preprocessing, BATCH_SIZE)


def check(subject: Subject, answer: Answer) -> Check:
    """The map is that of slow code, from one masked image after the other."""
    explained = model(subject)
    maps = maps_of(explained, subject.batch, answer.layer)
    maps = maps[[bool(channel.max() > channel.min()) for channel in maps]]
    coarse = test_score_cam.literal(explained, subject.image, subject.zeros, maps, subject.target)
    return Check(difference(answer.values, to_size(coarse, explained)))


def _narrowest(model: Model) -> Layer:
    return min(model.layers, key=lambda layer: layer.output_shape[0])
