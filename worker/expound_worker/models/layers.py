"""Finds the layers of a network whose output is a map of the image."""

from collections import Counter

import torch
from torch import Tensor, nn

from expound_worker.models.model import Layer


def find_layers(
    module: nn.Module, input_shape: tuple[int, int, int], device: torch.device
) -> tuple[Layer, ...]:
    """Runs one input of zeros and notes every layer whose output is (N, channels, h, w).

    A layer counts when its map is larger than one cell and has the input's proportions, which
    tells (N, h, w, channels) apart. One that runs several times is left out: its output is not
    one map.

    Args:
        module: the network, in eval mode.
        input_shape: (C, H, W).
        device: where the network is.

    Returns:
        The layers in the order in which they end.
    """
    found: dict[str, Layer] = {}
    runs: Counter[str] = Counter()
    handles = []
    for name, layer in module.named_modules():
        if not name:
            continue

        def note(layer: nn.Module, _inputs: object, output: object, name: str = name) -> None:
            runs[name] += 1
            if isinstance(output, Tensor) and _is_map(output, input_shape):
                shape = (output.shape[1], output.shape[2], output.shape[3])
                found[name] = Layer(name, type(layer).__name__, shape)

        handles.append(layer.register_forward_hook(note))
    try:
        with torch.inference_mode():
            module(torch.zeros((1, *input_shape), device=device))
    finally:
        for handle in handles:
            handle.remove()
    return tuple(layer for name, layer in found.items() if runs[name] == 1)


def _is_map(output: Tensor, input_shape: tuple[int, int, int]) -> bool:
    if output.ndim != 4 or not output.is_floating_point():
        return False
    height, width = output.shape[2:]
    _, input_height, input_width = input_shape
    same_proportions = abs(height / input_height - width / input_width) * max(height, width) <= max(
        height / input_height, width / input_width
    )
    return min(height, width) > 1 and same_proportions
