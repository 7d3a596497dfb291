"""Model cards: what a worker tells servers of its models."""

from collections.abc import Iterable, Mapping, Sequence

import torch

from expound.v1 import model_service_pb2, worker_pb2
from expound.v1.model_service_pb2 import Capability
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.settings import Settings


def worker_card(
    worker: str,
    settings: Settings,
    models: Iterable[Model],
    capabilities: Mapping[str, Sequence[Capability]],
) -> worker_pb2.WorkerCard:
    """The card of a worker with those models; what the methods can do on each is by its name."""
    return worker_pb2.WorkerCard(
        worker=worker,
        pool=settings.pool,
        kinds=settings.kinds,
        models=[model_card(model, capabilities[model.name]) for model in models],
    )


def resource_name(model: Model) -> str:
    """Name of a model in the contract: ``models/NAME``."""
    return f"models/{model.name}"


def model_card(model: Model, capabilities: Sequence[Capability]) -> model_service_pb2.Model:
    """The card of one model, and what each method can do on it."""
    parameters = list(model.module.parameters())
    card = model_service_pb2.Model(
        name=resource_name(model),
        version=model.version,
        digest=model.digest,
        pool=model.pool,
        input_shape=model.input_shape,
        class_count=model.class_count,
        labels=model.labels,
        preprocessing=model.preprocessing.describe(),
        preprocessing_steps=_steps(model.preprocessing),
        device=str(model.device),
        dtype=_name(parameters[0].dtype) if parameters else "float32",
        parameter_count=sum(parameter.numel() for parameter in parameters),
        capabilities=capabilities,
        execution=_execution(model),
    )
    for layer in model.layers:
        card.layers.add(
            name=layer.name,
            kind=layer.kind,
            output_shape=layer.output_shape,
            default=bool(layer.default_reason),
        )
    return card


def _steps(preprocessing: Preprocessing) -> model_service_pb2.Preprocessing:
    return model_service_pb2.Preprocessing(
        resize=preprocessing.resize or 0,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )


def _execution(model: Model) -> model_service_pb2.Execution:
    inference = model.inference
    return model_service_pb2.Execution(
        batch_size=model.batch_size,
        chunk_size=model.chunk_size,
        memory_format=_name(inference.memory_format).removesuffix("_format"),
        precision=_name(inference.autocast or torch.float32),
        compiled=inference.compiled,
        error=inference.error,
        threads=model.cores,
    )


def _name(value: torch.dtype | torch.memory_format) -> str:
    return str(value).removeprefix("torch.")
