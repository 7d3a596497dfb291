"""What a notebook does: images one by one, in its own process, by Captum."""

from collections.abc import Callable

import captum.attr
import torch

from expound_client import methods as m
from tests import photos
from tests.bench.table import in_turns, median

Gradient = m.Saliency | m.IntegratedGradients
_IG_STEPS = 50


def captum_rate(model: str, method: Gradient, rounds: int, images: int = 1) -> float:
    """Images a second, one after the other or so many at once.

    On one core or on all, whichever is faster.
    """
    cores = torch.get_num_threads()
    rates = []
    for threads in {1, cores}:
        torch.set_num_threads(threads)
        loop = _loop(model, method, images)
        rates.append(images / median(in_turns({"loop": loop}, rounds)["loop"]))
    torch.set_num_threads(cores)
    return max(rates)


def _loop(model: str, method: Gradient, images: int) -> Callable[[], object]:
    """One batch: preprocess, predict, attribute."""
    module, photo = photos.model(model).module, photos.resized(model)

    def loop() -> object:
        inputs = [photos.model_input(model, photo) for _ in range(images)]
        batch = torch.cat(inputs).requires_grad_()
        targets = module(batch).argmax(1)
        if isinstance(method, m.Saliency):
            return captum.attr.Saliency(module).attribute(batch, target=targets)
        integrated = captum.attr.IntegratedGradients(module)
        return integrated.attribute(
            batch,
            target=targets,
            n_steps=_IG_STEPS,
            internal_batch_size=photos.model(model).batch_size,
        )

    return loop
