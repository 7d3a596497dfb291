"""What tests of gradient methods share."""

import torch
from torch import Tensor

from expound_worker.methods.method import Batch
from expound_worker.models.model import Model

TARGETS = [6, 3]


def batch_of(model: Model, *images: Tensor, targets: list[int] | None = None) -> Batch:
    """Images and a target of each, with the scores that the service would find."""
    inputs = torch.stack(images)
    classes = torch.tensor(targets or TARGETS[: len(images)])
    scores = model.float32_logits(inputs).gather(1, classes[:, None])[:, 0]
    return Batch(inputs, classes, scores.tolist())


def pair(model: Model, image: Tensor) -> Batch:
    """A batch of two different images."""
    return batch_of(model, image, image.flip(2) * 0.5)
