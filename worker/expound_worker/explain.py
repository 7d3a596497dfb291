"""The unit ``explain``: predictions, gradient methods, and the tickets of the rest."""

from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor

from expound.reasons import Reason
from expound.v1 import explanation_pb2, method_pb2
from expound_worker.attributions import to_attribution
from expound_worker.failures import describe
from expound_worker.images import digest, prepare
from expound_worker.methods.catalogue import GRADIENT_METHODS
from expound_worker.methods.method import Batch, MethodError
from expound_worker.models.model import Model
from expound_worker.models.registry import Registry
from expound_worker.predictions import explained, predict
from expound_worker.store import Stopped, Unit, Work

LIBRARIES = ("captum", "lime", "numpy", "pillow", "scikit-image", "shap", "torch", "torchvision")


def run(work: Work, models: Registry, hand_out: Callable[[int], None]) -> None:
    """Explains by gradients, and calls `hand_out` with the index of every other method.

    An error before the first method fails the whole explanation; an error of a method fails that
    method alone.
    """
    unit, request = work.unit, work.request
    try:
        try:
            model, inputs = _prepare(request, models)
            predictions = predict(model, inputs, request.target)
        except Exception as error:
            unit.fail_all(describe(error))
            return
        unit.write_predictions(predictions, _provenance(unit, request, model))
        targets = explained(model, predictions, request.target)
        for index, method in enumerate(request.methods):
            if method.WhichOneof("method") in GRADIENT_METHODS:
                _run_method(unit, index, request, model, inputs, targets)
            else:
                hand_out(index)
        unit.succeed()
    except Stopped:
        return


def find_model(request: explanation_pb2.ExplainRequest, models: Registry) -> Model:
    """The model of a request. Raises MethodError when this worker does not have it."""
    model = models.get(request.model.removeprefix("models/"))
    if model is None:
        known = ", ".join(model.name for model in models)
        raise MethodError(
            Reason.MODEL_NOT_FOUND, f"this worker does not serve {request.model}, but {known}"
        )
    return model


def method_path(request: explanation_pb2.ExplainRequest, index: int) -> str:
    """Path of a method's message in its request: "methods[2].lime"."""
    return f"methods[{index}].{request.methods[index].WhichOneof('method')}"


def _prepare(request: explanation_pb2.ExplainRequest, models: Registry) -> tuple[Model, Tensor]:
    model = find_model(request, models)
    prepared = [
        prepare(source, index, model.preprocessing) for index, source in enumerate(request.inputs)
    ]
    return model, torch.stack(prepared).to(model.device)


def _run_method(
    unit: Unit,
    index: int,
    request: explanation_pb2.ExplainRequest,
    model: Model,
    inputs: Tensor,
    targets: list[list[explanation_pb2.ClassScore]],
) -> None:
    claimed = unit.claim_method(index)
    if claimed is None:
        return
    try:
        result = _attribute(request.methods[index], request, model, inputs, targets)
    except Exception as error:
        claimed.fail(describe(error, method_path(request, index)))
        return
    claimed.succeed(result)


def _attribute(
    method: method_pb2.Method,
    request: explanation_pb2.ExplainRequest,
    model: Model,
    inputs: Tensor,
    targets: list[list[explanation_pb2.ClassScore]],
) -> explanation_pb2.MethodResult:
    """Runs a method on every pair of an input and a target, in batches of the model's size."""
    name = method.WhichOneof("method") or ""
    pairs = [(index, score) for index, scores in enumerate(targets) for score in scores]
    result = explanation_pb2.MethodResult()
    for start in range(0, len(pairs), model.batch_size):
        some = pairs[start : start + model.batch_size]
        batch = Batch(
            inputs=inputs[[index for index, _ in some]],
            targets=torch.tensor([score.index for _, score in some], device=model.device),
            logits=[score.logit for _, score in some],
        )
        parameters = getattr(method, name)
        answers = GRADIENT_METHODS[name].attribute(model, batch, parameters, request.seed)
        for (index, score), answer in zip(some, answers, strict=True):
            result.attributions.append(to_attribution(answer, index, score, request.output))
            result.progress.evaluations_done += answer.evaluations
    result.progress.evaluations_total = result.progress.evaluations_done
    return result


def _provenance(
    unit: Unit, request: explanation_pb2.ExplainRequest, model: Model
) -> explanation_pb2.Provenance:
    device = str(model.device)
    if model.device.type == "cuda":
        device += f" {torch.cuda.get_device_name(model.device)}"
    return explanation_pb2.Provenance(
        model=model.name,
        model_version=model.version,
        model_digest=model.digest,
        input_digests=[digest(source) for source in request.inputs],
        seed=request.seed,
        library_versions=_LIBRARY_VERSIONS,
        device=device,
        worker=unit.store.worker,
    )


_LIBRARY_VERSIONS = {name: version(name) for name in ("expound", *LIBRARIES)}
