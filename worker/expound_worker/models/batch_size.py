"""Measures how many images in one forward pass are fastest, a second or so at load."""

import time

import torch
from torch import nn

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_ROUNDS = 3
_CLEARLY_WORSE = 1.3


def fastest_batch_size(
    module: nn.Module, input_shape: tuple[int, int, int], device: torch.device
) -> int:
    """Gives the batch size with the least time an image.

    Sizes grow until one is clearly worse than the best, or does not fit into memory.
    """
    best_size, best_s = SIZES[0], float("inf")
    for size in SIZES:
        try:
            image_s = _seconds_an_image(module, torch.zeros((size, *input_shape), device=device))
        except torch.OutOfMemoryError:
            break
        if image_s < best_s:
            best_size, best_s = size, image_s
        elif image_s > _CLEARLY_WORSE * best_s:
            break
    return best_size


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
