"""How each method of the catalogue is run in the zoo, cheaply, and how its answer is checked."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from expound.tensors import to_tensor
from expound.v1 import method_pb2 as m
from expound_worker.methods.method import Answer
from expound_worker.models.model import Model
from tests.numeric import test_eigen_cam, test_grad_cam, test_grad_cam_plus_plus, test_layer_cam
from tests.numeric.test_layer_activation import literal as mean_of_channels
from tests.zoo import perturbation_checks as perturbation
from tests.zoo import rewritten, score_cam
from tests.zoo.checks import EXACT, Check, completeness, difference, relative
from tests.zoo.layers import Literal, literal_map, maps_of
from tests.zoo.subject import Subject

_MAX_DELTA = 0.01
"""Precision that is asked of integrated gradients."""
_CONDUCTANCE_ERROR, _LRP_ERROR = 0.05, 0.1
"""Errors of layer conductance and of LRP that go without a warning."""
_STANDARD_ERRORS = 5.0

CheckOf = Callable[[Subject, Answer], Check]


@dataclass(frozen=True)
class Trial:
    """One method in the zoo.

    Attributes:
        parameters: makes its parameters; defaults are filled in later.
        check: finds the error of its answer.
        model: the model that it explains.
    """

    parameters: Callable[[Subject], Message]
    check: CheckOf
    model: Callable[[Subject], Model] = lambda subject: subject.model


def fixed(parameters: Message, check: CheckOf) -> Trial:
    """A trial with the same parameters for every classifier."""
    return Trial(lambda _: parameters, check)


def several_baselines(subject: Subject) -> list[m.Baseline]:
    return [m.Baseline(tensor=to_tensor(baseline.numpy())) for baseline in subject.baselines]


def saliency(subject: Subject, answer: Answer) -> Check:
    error = difference(answer.values, np.abs(subject.gradient))
    return Check(max(error, subject.gradient_error))


def input_x_gradient(subject: Subject, answer: Answer) -> Check:
    error = difference(answer.values, subject.image.numpy() * subject.gradient)
    return Check(max(error, subject.gradient_error))


def adds_up(allowed: float) -> CheckOf:
    """The values sum to the difference of the logits of the image and zeros."""
    return lambda subject, answer: completeness(subject, answer, subject.zeros[None], allowed)


def adds_up_on_average(subject: Subject, answer: Answer) -> Check:
    """The values sum to that of the image and the mean of several baselines."""
    return completeness(subject, answer, subject.baselines, EXACT)


def adds_up_by_chance(subject: Subject, answer: Answer) -> Check:
    """They do within some standard errors, which the answer names."""
    assert answer.standard_error is not None
    expected = subject.logit(subject.image) - subject.logit(subject.zeros)
    return adds_up(_STANDARD_ERRORS * answer.standard_error / abs(expected))(subject, answer)


def conserves(subject: Subject, answer: Answer) -> Check:
    """The values sum to the logit."""
    total = float(answer.values.astype(np.float64).sum())
    return Check(relative(total, subject.logit(subject.image)), _LRP_ERROR, named=True)


def equals(expected: Callable[[Subject], NDArray[np.float32]]) -> CheckOf:
    return lambda subject, answer: Check(difference(answer.values, expected(subject)))


def cam(literal: Literal) -> CheckOf:
    """The map is that of slow code, from the maps of the layer that the answer names."""

    def check(subject: Subject, answer: Answer) -> Check:
        expected = literal_map(subject.model, subject.batch, answer, literal)
        return Check(difference(answer.values, expected))

    return check


def layer_activation(subject: Subject, answer: Answer) -> Check:
    """Beside the activations themselves: channels may cancel out, as those of a LayerNorm do."""
    maps = maps_of(subject.model, subject.batch, answer.layer)
    expected = literal_map(subject.model, subject.batch, answer, mean_of_channels)
    return Check(float(np.abs(answer.values - expected).max()) / float(maps.abs().max()))


def guided_grad_cam(subject: Subject, answer: Answer) -> Check:
    weights = literal_map(subject.model, subject.batch, answer, test_grad_cam.literal)
    return Check(difference(answer.values, rewritten.guided(subject) * weights))


GRADIENT_TRIALS: dict[str, Trial] = {
    "saliency": fixed(m.Saliency(), saliency),
    "input_x_gradient": fixed(m.InputXGradient(), input_x_gradient),
    "integrated_gradients": fixed(
        m.IntegratedGradients(n_steps=32, max_delta=_MAX_DELTA, max_steps=128),
        adds_up(_MAX_DELTA),
    ),
    "gradient_shap": fixed(m.GradientShap(n_samples=24, stdev=0), adds_up_by_chance),
    "deep_lift": fixed(m.DeepLift(), adds_up(EXACT)),
    "deep_lift_shap": Trial(
        lambda subject: m.DeepLiftShap(baselines=several_baselines(subject)), adds_up_on_average
    ),
    "deep_shap": Trial(
        lambda subject: m.DeepShap(baselines=several_baselines(subject)), adds_up_on_average
    ),
    "lrp": fixed(m.Lrp(), conserves),
    "guided_backprop": fixed(m.GuidedBackprop(), equals(rewritten.guided)),
    "deconvolution": fixed(m.Deconvolution(), equals(rewritten.deconvolved)),
}
LAYER_TRIALS: dict[str, Trial] = {
    "grad_cam": fixed(m.GradCam(), cam(test_grad_cam.literal)),
    "grad_cam_plus_plus": fixed(m.GradCamPlusPlus(), cam(test_grad_cam_plus_plus.literal)),
    "layer_cam": fixed(m.LayerCam(), cam(test_layer_cam.literal)),
    "eigen_cam": fixed(m.EigenCam(), cam(test_eigen_cam.literal)),
    "score_cam": Trial(score_cam.parameters, score_cam.check, score_cam.model),
    "guided_grad_cam": fixed(m.GuidedGradCam(), guided_grad_cam),
    "layer_activation": fixed(m.LayerActivation(), layer_activation),
    "layer_conductance": fixed(m.LayerConductance(), adds_up(_CONDUCTANCE_ERROR)),
}
PERTURBATION_TRIALS: dict[str, Trial] = {
    "occlusion": Trial(perturbation.windows, perturbation.losses),
    "feature_ablation": fixed(perturbation.ABLATION, perturbation.losses),
    "lime": fixed(perturbation.LIME, perturbation.lime),
    "kernel_shap": fixed(perturbation.KERNEL_SHAP, perturbation.kernel_shap),
    "permutation_shap": fixed(perturbation.PERMUTATION_SHAP, perturbation.permutation_shap),
    "partition_shap": fixed(perturbation.PARTITION_SHAP, perturbation.partition_shap),
    "rise": fixed(perturbation.RISE, perturbation.rise),
}
TRIALS: dict[str, Trial] = {**GRADIENT_TRIALS, **LAYER_TRIALS, **PERTURBATION_TRIALS}
"""All methods, in the order of the tables."""
