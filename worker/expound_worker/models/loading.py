"""Builds the model of an entry, finds out what it is, and how it is run the fastest."""

import hashlib
import importlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
import torchvision.models
from torch import Tensor, nn

from expound_worker.models.batch_size import BatchSize, BatchSizes, measure
from expound_worker.models.entry import Entry, EntryError
from expound_worker.models.inference import Inference, InferenceError, choose
from expound_worker.models.inputs import spare_inputs
from expound_worker.models.layers import find_layers
from expound_worker.models.model import Model
from expound_worker.models.output import check_output

_ROUNDING = 1e-4
"""By how much the sum of a row of probabilities may miss 1."""


def measured_sizes(model: Model) -> BatchSizes:
    """The batch sizes of a model that are best, as far as its `cores` and its `device` go."""
    return measure(model.inference, model.input_shape, model.device, model.cores)


def load(entry: Entry, sizes_of: Callable[[Model], BatchSizes] = measured_sizes) -> Model:
    """Builds and probes the model of an entry.

    Args:
        entry: the entry.
        sizes_of: tells the batch sizes of a model.

    Raises:
        EntryError: it cannot be built, or is none that can be explained.
    """
    device = _device(entry.device)
    input_shape = entry.preprocessing.input_shape
    try:
        module = _build(entry).eval().requires_grad_(False).to(device)
        logits = _probe(entry, module, device)
        spare_inputs(module, torch.zeros((2, *input_shape), device=device))
        layers = find_layers(module, input_shape, device)
    except EntryError:
        raise
    except Exception as error:
        raise EntryError(f"[models.{entry.name}]: {type(error).__name__}: {error}") from error
    class_count = logits.shape[1]
    check_output(module, class_count)
    _check_labels(entry, class_count)
    model = Model(
        name=entry.name,
        version=entry.version,
        digest=_digest(module),
        pool=entry.pool,
        module=module,
        device=device,
        preprocessing=entry.preprocessing,
        labels=entry.labels,
        class_count=class_count,
        layers=layers,
        batch=BatchSize(1),
        chunk=BatchSize(1),
        inference=_inference(entry, module, device),
        cores=torch.get_num_threads(),
    )
    sizes = sizes_of(model)
    batch_size = entry.batch_size or sizes.batch_size
    # A chunk is as long as it may last, whatever the entry says; no larger than it allows.
    chunk_size = min(sizes.chunk_size, entry.batch_size or sizes.chunk_size)
    return replace(
        model,
        batch=BatchSize(batch_size),
        chunk=BatchSize(chunk_size),
        large_batch=sizes.large,
    )


def _build(entry: Entry) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(entry.seed)
        if entry.torchvision:
            arguments = {"weights": None, **entry.arguments}
            module = torchvision.models.get_model(entry.torchvision, **arguments)
        elif entry.archive:
            content = _read(entry.archive, entry.archive_sha256)
            module = torch.export.unflatten(torch.export.load(io.BytesIO(content)))
        else:
            path, _, name = entry.builder.partition(":")
            module = getattr(importlib.import_module(path), name)(**entry.arguments)
    if not isinstance(module, nn.Module):
        raise EntryError(f"[models.{entry.name}]: the builder gave no torch.nn.Module")
    if entry.weights is not None:
        module.load_state_dict(_read_weights(entry.weights, entry.weights_sha256))
    return module


def _read(path: Path, sha256: str) -> bytes:
    # Read once, so that what is checked is what is loaded.
    content = path.read_bytes()
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise EntryError(f"{path}: its SHA-256 is not the one that is given")
    return content


def _read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    content = _read(path, sha256)
    if path.suffix == ".safetensors":
        tensors: dict[str, Tensor] = safetensors.torch.load(content)
        return tensors
    state: dict[str, Tensor] = torch.load(
        io.BytesIO(content), map_location="cpu", weights_only=True
    )
    return state


def _probe(entry: Entry, module: nn.Module, device: torch.device) -> Tensor:
    with torch.inference_mode():
        logits = module(torch.zeros((2, *entry.preprocessing.input_shape), device=device))
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[0] != 2:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise EntryError(
            f"[models.{entry.name}]: the model must give logits (N, classes), not {given}: let its "
            "builder return a module that gives them alone"
        )
    if _are_probabilities(logits):
        raise EntryError(
            f"[models.{entry.name}]: the model gives probabilities, and Expound needs logits: "
            "remove the final softmax"
        )
    return logits


def _are_probabilities(logits: Tensor) -> bool:
    """Whether rows (N, classes) are those of a softmax."""
    away_from_1 = (logits.sum(dim=1) - 1).abs().max()
    return logits.shape[1] > 1 and bool(logits.min() >= 0) and bool(away_from_1 < _ROUNDING)


def _check_labels(entry: Entry, class_count: int) -> None:
    if entry.labels and len(entry.labels) != class_count:
        raise EntryError(
            f"[models.{entry.name}]: `labels` has {len(entry.labels)} labels, but the model has "
            f"{class_count} classes"
        )


def _inference(entry: Entry, module: nn.Module, device: torch.device) -> Inference:
    shape = entry.preprocessing.input_shape
    try:
        return choose(module, shape, device, autocast=entry.autocast, compiled=entry.compile)
    except InferenceError as error:
        raise EntryError(f"[models.{entry.name}]: {error}") from error


def _digest(module: nn.Module) -> str:
    """SHA-256 of all weights and buffers with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
