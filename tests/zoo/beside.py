"""What stands beside the methods: DeepLIFT in float64, LRP without constants, and Captum's."""

import copy
import time
import warnings
from collections.abc import Callable

import captum.attr
import torch
from torch import Tensor, nn

from expound_worker.methods.guided_backprop import GuidedBackprop
from expound_worker.propagation.deep_lift.propagate import propagate
from expound_worker.propagation.lrp.composites import epsilon_everywhere
from expound_worker.propagation.lrp.layers import Bounds
from expound_worker.propagation.lrp.propagate import relevance
from tests.zoo import rewritten
from tests.zoo.cells import LIMIT_S, Cell, measured
from tests.zoo.checks import EXACT, Verdict, difference, relative
from tests.zoo.subject import Subject

_EXACT_IN_FLOAT64 = 1e-9
_CONSTANTS = ("bias", "running_mean", "class_token", "pos_embedding")
_REFUSED_BY_LRP = 1.0
"""Error from which Expound's own LRP refuses a map."""

Found = tuple[Verdict, float | None, str]


def deep_lift_in_float64(subject: Subject) -> Found:
    """The values add up to the last digits but a few."""
    inputs = subject.batch.inputs.double()
    found = propagate(subject.double, inputs, torch.zeros_like(inputs), subject.batch.targets)
    error = relative(float(found.attributions.sum()), _logits_differ(subject))
    return (Verdict.EXACT if error <= _EXACT_IN_FLOAT64 else Verdict.WRONG), error, ""


def lrp_without_constants(subject: Subject) -> Found:
    """Nothing is lost where no bias keeps anything; softmax keeps a part, by its rule."""
    module = copy.deepcopy(subject.double)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith(_CONSTANTS):
            tensor.zero_()
    inputs = subject.batch.inputs.double()
    bounds = Bounds(inputs, inputs)
    targets = subject.batch.targets
    values, scores = relevance(module, inputs, targets, epsilon_everywhere(1e-9), bounds)
    error = relative(float(values.sum()), float(scores[0, subject.target]))
    if error <= EXACT:
        return Verdict.EXACT, error, ""
    attends = any("attention" in type(part).__name__.lower() for part in module.modules())
    return (Verdict.APPROXIMATE if attends else Verdict.WRONG), error, ""


def captums_deep_lift(subject: Subject) -> Found:
    """In float64: in float32 its quotients of small differences lose their digits."""
    method = captum.attr.DeepLift(_trainable(subject.double))
    values = method.attribute(_double_leaf(subject), target=subject.target)
    error = relative(float(values.sum()), _logits_differ(subject))
    return (Verdict.EXACT if error <= EXACT else Verdict.WRONG), error, ""


def captums_lrp(subject: Subject) -> Found:
    """In float64; as Expound's own, it may lose to constants less than there is."""
    method = captum.attr.LRP(_trainable(subject.double))
    values = method.attribute(_double_leaf(subject), target=subject.target)
    error = relative(float(values.sum()), _double_logit(subject, subject.image))
    if error <= EXACT:
        return Verdict.EXACT, error, ""
    return (Verdict.APPROXIMATE if error < _REFUSED_BY_LRP else Verdict.WRONG), error, ""


def captums_guided_backprop(subject: Subject) -> Found:
    """Beside the rule, where it covers the network, and beside the plain gradient."""
    method = captum.attr.GuidedBackprop(_trainable(subject.model.module))
    leaf = subject.batch.inputs.clone().requires_grad_()
    values = method.attribute(leaf, target=subject.target)[0].detach().numpy()
    error = None
    if GuidedBackprop().refusal(subject.model) is None:
        error = difference(values, rewritten.guided(subject))
        if error <= EXACT:
            return Verdict.EXACT, error, ""
    if difference(values, subject.gradient) <= EXACT:
        return Verdict.WRONG, error, "it is the plain gradient"
    return Verdict.WRONG, error, "only some activations have the rule"


BESIDE: dict[str, Callable[[Subject], Found]] = {
    "deep_lift/float64": deep_lift_in_float64,
    "lrp/without_constants": lrp_without_constants,
    "captum/deep_lift": captums_deep_lift,
    "captum/lrp": captums_lrp,
    "captum/guided_backprop": captums_guided_backprop,
}


def run_beside(subject: Subject, name: str, limit_s: float = LIMIT_S) -> Cell:
    """Runs one of them; what it raises is a verdict too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum says on every call that it sets hooks
        return measured(subject.name, name, lambda: _timed(subject, BESIDE[name]), limit_s)


def _timed(
    subject: Subject, run: Callable[[Subject], Found]
) -> tuple[Verdict, float | None, float, str]:
    start = time.process_time()
    verdict, error, reason = run(subject)
    return verdict, error, time.process_time() - start, reason


def _trainable(module: nn.Module) -> nn.Module:
    """A copy as users have it: Captum hangs its hooks on tensors of parameters too."""
    return copy.deepcopy(module).requires_grad_(True)


def _double_leaf(subject: Subject) -> Tensor:
    return subject.batch.inputs.double().requires_grad_()


def _double_logit(subject: Subject, image: Tensor) -> float:
    with torch.no_grad():
        return float(subject.double(image[None].double())[0, subject.target])


def _logits_differ(subject: Subject) -> float:
    """The logit of the image minus that of zeros, in float64."""
    return _double_logit(subject, subject.image) - _double_logit(subject, subject.zeros)
