"""Measures how many images in one forward pass are fastest, a second or so at load."""

import time

import torch
from torch import nn

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_ROUNDS = 3
_CLEARLY_WORSE = 1.3
_AS_GOOD = 1.05


def fastest_batch_size(
    module: nn.Module, input_shape: tuple[int, int, int], device: torch.device
) -> int:
    """Gives the smallest batch size that takes the least time an image, or nearly so.

    Sizes grow until one is clearly worse than the best, or does not fit into memory. A smaller one
    that is as good answers a cancel sooner.
    """
    measured: dict[int, float] = {}
    for size in SIZES:
        try:
            image_s = _seconds_an_image(module, torch.zeros((size, *input_shape), device=device))
        except torch.OutOfMemoryError:
            break
        measured[size] = image_s
        if image_s > _CLEARLY_WORSE * min(measured.values()):
            break
    least_s = min(measured.values(), default=0.0)
    good = (size for size, image_s in measured.items() if image_s <= _AS_GOOD * least_s)
    return next(good, SIZES[0])


@torch.inference_mode()
def _seconds_an_image(module: nn.Module, batch: torch.Tensor) -> float:
    module(batch)
    measured = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        # Reading a value waits for the device.
        module(batch).sum().item()
        measured.append(time.perf_counter() - start)
    return min(measured) / len(batch)
