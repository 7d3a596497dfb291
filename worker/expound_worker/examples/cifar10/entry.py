"""Registers a trained network: its weights, and the models.toml that names them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
from torch import nn

from expound_worker.examples.cifar10.networks import VARIANTS
from expound_worker.examples.cifar10.photos import PREPROCESSING

_HEAD = """\
# The network of the CIFAR-10 tutorials, as `python -m expound_worker.examples.cifar10` trained it.
# The entries are one function of the same weights; only how it is written differs.
"""

_ENTRY = """
[models.cifar10_{variant}]
builder = "expound_worker.examples.cifar10.networks:build"
arguments = {{ variant = "{variant}", class_count = {class_count} }}
weights = "{weights}"
weights_sha256 = "{sha256}"
labels = {labels}

[models.cifar10_{variant}.input]
shape = {shape}
mean = {mean}
std = {std}
"""


def register(network: nn.Module, labels: Sequence[str], folder: Path) -> Path:
    """Saves the weights, and an entry for each way of writing the network.

    Args:
        network: a trained network.
        labels: label of each class.
        folder: existing folder, for ``weights.safetensors`` and ``models.toml``.

    Returns:
        Path of ``models.toml``.
    """
    weights = folder / "weights.safetensors"
    safetensors.torch.save_file(network.state_dict(), weights)
    entries = (
        _ENTRY.format(
            variant=variant,
            class_count=len(labels),
            weights=weights.name,
            sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
            labels=json.dumps(labels),
            shape=list(PREPROCESSING.input_shape),
            mean=list(PREPROCESSING.mean),
            std=list(PREPROCESSING.std),
        )
        for variant in VARIANTS
    )
    models = folder / "models.toml"
    models.write_text(_HEAD + "".join(entries))
    return models
