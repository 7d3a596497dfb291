"""A loaded model: the network and all that is known of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expound_worker.models.batch_size import BatchSize
from expound_worker.models.inference import Inference
from expound_worker.models.layout import Layout
from expound_worker.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Layer:
    """A layer whose output is a map of the image.

    Attributes:
        module: dotted name of its module.
        run: which of the module's runs it is, from 1.
        runs: how often the module runs in one forward pass.
        kind: class of the module.
        output_shape: (channels, height, width) of its map for one input.
        layout: how its output is read as a map.
        default_reason: why layer methods take it when none is named; empty for all but that one.
    """

    module: str
    run: int
    runs: int
    kind: str
    output_shape: tuple[int, int, int]
    layout: Layout
    default_reason: str = ""

    @property
    def name(self) -> str:
        """Dotted name of its module; of the second of several runs, with "#2" behind it."""
        return self.module if self.runs == 1 else f"{self.module}#{self.run}"


@dataclass(frozen=True)
class Model:
    """An image classifier, ready to run.

    Attributes:
        name: name of its entry in ``models.toml``.
        version: version of its entry.
        digest: SHA-256 of its weights, hexadecimal.
        pool: pool of the workers that serve it.
        module: the network, in eval mode, its parameters frozen: (N, C, H, W) float32 in model
            input units to (N, classes) logits.
        device: where it runs.
        preprocessing: how an image becomes an input.
        labels: label of each class; empty where it has none.
        class_count: number of classes.
        layers: its layers whose output is a map, in the order in which they run.
        batch: number of images in one forward pass: where it is fastest, as far as memory goes.
        chunk: number of images in one forward pass of a job that others wait behind, likewise.
        inference: how forward passes without gradients are run.
        cores: how many cores compute a large batch, on the CPU.
        large_batch: from so many images on a batch is large: one core computes smaller ones.
        forward: runs a forward pass elsewhere, in place of `module`.
    """

    name: str
    version: str
    digest: str
    pool: str
    module: nn.Module = field(repr=False)
    device: torch.device
    preprocessing: Preprocessing
    labels: tuple[str, ...] = field(repr=False)
    class_count: int
    layers: tuple[Layer, ...] = field(repr=False)
    batch: BatchSize = field(repr=False)
    chunk: BatchSize = field(repr=False)
    inference: Inference
    cores: int = field(default_factory=torch.get_num_threads)
    large_batch: int = 1
    forward: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one input: (C, H, W)."""
        return self.preprocessing.input_shape

    @property
    def batch_size(self) -> int:
        """Number of images in one forward pass, as it stands."""
        return self.batch.images

    @property
    def chunk_size(self) -> int:
        """Number of images in one forward pass of a job, as it stands."""
        return self.chunk.images

    def cores_for(self, images: int) -> int:
        """How many cores compute a batch of so many images, on the CPU."""
        return self.cores if images >= self.large_batch else 1

    def label(self, index: int) -> str:
        """Label of a class; its index where the model has no labels."""
        return self.labels[index] if self.labels else str(index)

    def run(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes) of one batch (N, C, H, W), no gradient."""
        return self.inference(inputs)

    @torch.inference_mode()
    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes) of inputs (N, C, H, W), in batches of `batch_size`, no gradient.

        A batch that does not fit into the device's memory is halved, and so are those after it.

        Raises:
            torch.OutOfMemoryError: one input alone needs more memory than the device has.
        """
        return self._in_batches(self.forward or self.run, inputs)

    @torch.inference_mode()
    def float32_logits(self, inputs: Tensor) -> Tensor:
        """Logits as `logits` gives them, but computed in float32 throughout, as gradients are.

        Under autocast `module` itself gives them.
        """
        if self.inference.autocast is None:
            return self.logits(inputs)
        return self._in_batches(Inference(self.module), inputs)

    def _in_batches(self, forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        run = self.batch.run(len(inputs), lambda start, end: forward(inputs[start:end]))
        return torch.cat(list(run))

    def probabilities(self, inputs: Tensor, targets: Tensor) -> NDArray[np.float64]:
        """(N, T) probability of each of the classes `targets` (T,) for inputs (N, C, H, W)."""
        probabilities = self.logits(inputs).softmax(dim=1, dtype=torch.float64)[:, targets]
        scores: NDArray[np.float64] = probabilities.cpu().numpy()
        return scores
