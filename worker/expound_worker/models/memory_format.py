"""Measures in which memory format a network's forward passes are fastest, at load."""

import time

import torch
from torch import Tensor, nn

_ROUNDS = 3
_CLEARLY_FASTER = 0.95
_TOLERANCE = 1e-4
"""By how much the scores may differ, of the largest: another order of the same sums."""


@torch.inference_mode()
def fastest(
    module: nn.Module, input_shape: tuple[int, int, int], device: torch.device, batch_size: int
) -> torch.memory_format:
    """`channels_last` where batches in it are clearly faster and give the same scores.

    Convolutions take it as it is, and hand it on; what a network does with the layout of its inputs
    beside that (a ``.view``) may fail, and then all stays as it was.

    Args:
        module: the network.
        input_shape: (C, H, W).
        device: where it runs.
        batch_size: images in a batch.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand((batch_size, *input_shape), generator=generator).to(device)
    try:
        other = inputs.contiguous(memory_format=torch.channels_last)
        scores, again = module(inputs), module(other)
    except RuntimeError:
        return torch.contiguous_format
    if float((scores - again).abs().max()) > _TOLERANCE * float(scores.abs().max()):
        return torch.contiguous_format
    seconds, other_seconds = _in_turns(module, inputs, other)
    if other_seconds < _CLEARLY_FASTER * seconds:
        return torch.channels_last
    return torch.contiguous_format


def _in_turns(module: nn.Module, *batches: Tensor) -> list[float]:
    """The least time of each batch."""
    measured = [float("inf")] * len(batches)
    for _ in range(_ROUNDS):
        for number, batch in enumerate(batches):
            start = time.perf_counter()
            module(batch).sum().item()  # reading a value waits for the device
            measured[number] = min(measured[number], time.perf_counter() - start)
    return measured
