"""What a notebook does: images one by one, in its own process, by Captum."""

from collections.abc import Callable

import captum.attr
import torch

from expound_client import methods as m
from tests import photos
from tests.bench.table import in_turns, median

Gradient = m.Saliency | m.IntegratedGradients
_IG_STEPS = 50


def captum_rate(model: str, method: Gradient, rounds: int) -> float:
    """Images a second of a serial loop, on one core or on all, whichever is faster."""
    cores = torch.get_num_threads()
    rates = []
    for threads in {1, cores}:
        torch.set_num_threads(threads)
        rates.append(1 / median(in_turns({"loop": _loop(model, method)}, rounds)["loop"]))
    torch.set_num_threads(cores)
    return max(rates)


def _loop(model: str, method: Gradient) -> Callable[[], object]:
    """One image: preprocess, predict, attribute."""
    module, photo = photos.model(model).module, photos.resized(model)

    def loop() -> object:
        image = photos.model_input(model, photo).requires_grad_()
        target = int(module(image).argmax())
        if isinstance(method, m.Saliency):
            return captum.attr.Saliency(module).attribute(image, target=target)
        integrated = captum.attr.IntegratedGradients(module)
        return integrated.attribute(
            image,
            target=target,
            n_steps=_IG_STEPS,
            internal_batch_size=photos.model(model).batch_size,
        )

    return loop
