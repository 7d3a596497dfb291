"""What a notebook does: images one by one or in batches, in its own process, by Captum."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import captum.attr
import numpy as np
import torch
from numpy.typing import NDArray

from expound_client import methods as m
from tests import photos

Gradient = m.Saliency | m.IntegratedGradients
_TRIED_S = 0.3
_LONG_S = 5.0
"""Larger batches than one that takes so long are not tried."""


@dataclass(frozen=True)
class Notebook:
    """A loop over batches of so many images, on so many cores."""

    model: str
    method: Gradient
    images: int
    cores: int

    def rate(self, least_s: float) -> float:
        """Images a second, in at least so many seconds."""
        all_cores = torch.get_num_threads()
        torch.set_num_threads(self.cores)
        photo = photos.resized(self.model)
        start_s, images = time.perf_counter(), 0
        while images == 0 or time.perf_counter() < start_s + least_s:
            self._batch(photo)
            images += self.images
        lasted_s = time.perf_counter() - start_s
        torch.set_num_threads(all_cores)
        return images / lasted_s

    def _batch(self, photo: NDArray[np.uint8]) -> None:
        """Preprocesses, predicts, attributes, and has the maps where NumPy sees them."""
        model = photos.model(self.model)
        inputs = [photos.model_input(self.model, photo) for _ in range(self.images)]
        batch = torch.cat(inputs).to(model.device).requires_grad_()
        targets = model.module(batch).argmax(1)
        if isinstance(self.method, m.Saliency):
            maps = captum.attr.Saliency(model.module).attribute(batch, target=targets)
        else:
            maps = captum.attr.IntegratedGradients(model.module).attribute(
                batch,
                target=targets,
                n_steps=self.method.n_steps,
                internal_batch_size=model.batch_size,
            )
        maps.cpu()


def fastest(model: str, method: Gradient, sizes: Sequence[int] = (1,)) -> Notebook:
    """The loop with the highest rate: on one core or on all, in batches of one of the sizes."""
    Notebook(model, method, 1, torch.get_num_threads()).rate(0)
    rates: dict[Notebook, float] = {}
    for images in sizes:
        loops = [Notebook(model, method, images, n) for n in {1, torch.get_num_threads()}]
        rates |= {loop: loop.rate(_TRIED_S) for loop in loops}
        if images / max(rates[loop] for loop in loops) > _LONG_S:
            break
    return max(rates, key=lambda loop: rates[loop])
