"""What each method can do on a model: found by a run of each on a probe image."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from expound import parameters
from expound.reasons import Reason
from expound.v1 import method_pb2
from expound.v1.model_service_pb2 import Capability
from expound_worker.methods.catalogue import GRADIENT_METHODS, METHODS
from expound_worker.methods.method import Answer, Batch, GradientMethod, Method, MethodError
from expound_worker.models.model import Model
from expound_worker.process.accelerator import end_if_lost

_SEEDS = (0, 1)
"""Seeds of the probe images. The second is explained where a method refuses the first alone."""
_CELLS = 14
"""A probe is noise of so many cells along a side, enlarged: mostly smooth, as photos are."""
_SAMPLES = 8
"""Samples of the probe, fewer than the contract's default; of 2, chance explains any error."""
_TOLERANCE = 0.01
"""Difference of two runs, relative to the largest logit, that rounding on a device may make."""
_INSTEAD = "use kernel_shap or rise instead"
_LONGEST_CAUSE = 200


def capabilities_at_load(model: Model) -> list[Capability]:
    """What is known of a model before it is probed: which methods it can never have.

    Returns:
        One a method of the catalogue, UNSUPPORTED or UNSPECIFIED.
    """
    return [_at_load(method, model) for method in METHODS.values()]


def measure_capabilities(model: Model) -> Iterator[Capability]:
    """Probes a model: runs the methods on it, and judges each by its answer.

    Gradient methods explain one image, with few samples. Perturbation methods do no more than run
    the model forward: they are right where it gives an image the same scores again, alone and
    beside others. So that is measured, for all methods at once. It all takes about 150 forward and
    130 backward passes of one image.

    Yields:
        One a method of the catalogue, as soon as it is known. UNSPECIFIED, with the cause, where
        nothing could be measured.
    """
    probes = [_probe(model, seed) for seed in _SEEDS]
    if not all(math.isfinite(logit) for probe in probes for logit in probe.logits):
        reason = "the model gives NaN or infinity for the probe image, so that nothing is known"
        yield from (Capability(method=name, reason=reason) for name in METHODS)
        return
    difference = _difference_between_runs(model, probes)
    for name, method in METHODS.items():
        capability = _at_load(method, model)
        if capability.support != Capability.SUPPORT_UNSUPPORTED:
            if name in GRADIENT_METHODS:
                capability = _judge(GRADIENT_METHODS[name], model, probes)
            else:
                capability.support = Capability.SUPPORT_SUPPORTED
            _add_difference(capability, difference)
        yield capability


def probe_image(input_shape: tuple[int, int, int], seed: int) -> Tensor:
    """A smooth random image (C, H, W) float32 in model input units, the same on every device."""
    channels, height, width = input_shape
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randn(1, channels, _CELLS, _CELLS, generator=generator)
    return functional.interpolate(cells, (height, width), mode="bilinear")[0]


def _probe(model: Model, seed: int) -> Batch:
    """The probe image of a seed, to be explained for its best class."""
    inputs = probe_image(model.input_shape, seed)[None].to(model.device)
    logits, targets = model.float32_logits(inputs).max(dim=1)
    # What is made in inference mode is of no use for a gradient.
    return Batch(inputs, torch.tensor(targets.tolist(), device=model.device), logits.tolist())


def _difference_between_runs(model: Model, probes: Sequence[Batch]) -> float:
    """How far the scores of images differ alone and side by side, relative to the largest one."""
    images = [probe.inputs for probe in probes]
    together = model.logits(torch.cat(images))
    alone = torch.cat([model.logits(image) for image in images])
    largest = float(alone.abs().max())
    return float((together - alone).abs().max()) / largest if largest else 0.0


def _at_load(method: Method, model: Model) -> Capability:
    try:
        refusal = method.refusal(model)
    except Exception as error:
        refusal = _failure(error)
    return Capability(method=method.name) if refusal is None else _refused(method.name, refusal)


def _judge(method: GradientMethod, model: Model, probes: Sequence[Batch]) -> Capability:
    """What a gradient method can do, by its answer for the first probe that it does not refuse."""
    refusals: list[Capability] = []
    for probe in probes:
        try:
            (answer,) = method.attribute(model, probe, _parameters(method.name), seed=0)
        except MethodError as error:
            refusal = _refused(method.name, error.message)
            if error.reason is not Reason.NOT_COMPLETE:
                return refusal
            if "completeness_error" in error.metadata:
                refusal.error = float(error.metadata["completeness_error"])
            refusals.append(refusal)
        except torch.OutOfMemoryError:
            return Capability(method=method.name, reason="the probe does not fit into the memory")
        except Exception as error:
            return _refused(method.name, _failure(error))
        else:
            break
    if not refusals:
        return _of_answer(method.name, answer)
    capability = refusals[0]
    if len(refusals) < len(probes):
        capability.support = Capability.SUPPORT_APPROXIMATE
        capability.reason = f"refused for some images: {capability.reason}"
    return capability


def _of_answer(name: str, answer: Answer) -> Capability:
    if not np.isfinite(answer.values).all():
        return _refused(name, "it gives NaN or infinity for the probe image")
    if not answer.layer and not answer.values.any():
        return _refused(name, "the score of the probe image has no gradient")
    notes = list(answer.warnings)
    capability = Capability(method=name, support=Capability.SUPPORT_SUPPORTED)
    if notes:
        capability.support = Capability.SUPPORT_APPROXIMATE
    by_chance = answer.standard_error is not None and not notes
    if answer.completeness_error is not None and not by_chance:
        capability.error = answer.completeness_error
    steps = f"with {answer.n_steps} steps"
    if answer.n_steps is not None and steps not in " ".join(notes):
        notes.append(f"measured {steps}")
    capability.reason = "; ".join(notes)
    return capability


def _add_difference(capability: Capability, difference: float) -> None:
    """Adds to a method that is not refused that the model does not give the same scores again."""
    if difference <= _TOLERANCE or capability.support == Capability.SUPPORT_UNSUPPORTED:
        return
    note = (
        f"scores of an image change by {difference:.2g} of the largest from run to run: the model "
        "is random, or mixes the images of a batch"
    )
    capability.support = Capability.SUPPORT_APPROXIMATE
    capability.reason = "; ".join(filter(None, (note, capability.reason)))
    capability.error = max(capability.error, difference)


def _refused(name: str, reason: str) -> Capability:
    reason = reason if "instead" in reason else f"{reason}; {_INSTEAD}"
    return Capability(method=name, support=Capability.SUPPORT_UNSUPPORTED, reason=reason)


def _failure(error: Exception) -> str:
    end_if_lost(error)
    cause = f"{type(error).__name__}: {error}".partition("\n")[0][:_LONGEST_CAUSE]
    return f"it fails on the probe image with {cause}"


def _parameters(name: str) -> Any:
    """The contract's defaults of a method, with few samples.

    Steps are as many as requests have: the error of a path is one of them.
    """
    given = getattr(method_pb2.Method(), name)
    parameters.resolve(given)
    if "n_samples" in given.DESCRIPTOR.fields_by_name:
        given.n_samples = _SAMPLES
    return given
