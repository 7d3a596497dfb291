"""Finds the layers of a network whose output is a map of the image, and the default among them.

Names and classes of modules say little of what they give, so that all of it is measured: a few
inputs of noise run through the network while its layers are watched.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from expound_worker.models.default_layer import choose_default
from expound_worker.models.hooks import watching
from expound_worker.models.layout import Layout, possible_layouts
from expound_worker.models.model import Layer

_CHANGE = 0.1
"""Size of the change of the input beside the input: large ones spread further in deep networks."""
_MANY_CELLS = 14 * 14
_SMALLEST_SHIFT = 0.02
"""Maps of many cells follow the change of the input by more than this share of their length, by
0.06 and more in trained and in random networks alike; outputs that are no maps, as the windows of
MaxViT, by a tenth of it. Small maps of deep networks may see all of the input in every cell."""


def find_layers(
    module: nn.Module, input_shape: tuple[int, int, int], device: torch.device
) -> tuple[Layer, ...]:
    """Finds the layers whose output is a map larger than one cell, in any layout.

    Each run of a module that runs several times is a layer of its own.

    Args:
        module: the network, in eval mode.
        input_shape: (C, H, W).
        device: where the network is.

    Returns:
        The layers in the order in which they end. One of them is the default, if there are any;
        `choose_default` says which.
    """
    noise = torch.randn((2, *input_shape), generator=torch.Generator().manual_seed(0)).to(device)
    layers = _layers_with_maps(module, noise)
    if not layers:
        return ()
    default, reason = choose_default(module, layers, noise[:1])
    return tuple(
        replace(layer, default_reason=reason) if layer is default else layer for layer in layers
    )


def _layers_with_maps(module: nn.Module, noise: Tensor) -> list[Layer]:
    submodules = {name: layer for name, layer in module.named_modules() if name}
    found: list[Layer] = []

    def note(name: str, run: int, output: object) -> None:
        if isinstance(output, Tensor) and (layout := _layout(output, noise)):
            channels, height, width = layout.to_maps(output).shape[1:]
            kind = type(submodules[name]).__name__
            found.append(Layer(name, run, run, kind, (channels, height, width), layout))

    with torch.no_grad(), watching(module, submodules, note) as runs:
        module(_changed_in_corners(noise))
    return [replace(layer, runs=runs[layer.module]) for layer in found]


def _changed_in_corners(noise: Tensor) -> Tensor:
    """(3, C, H, W): an image, and the same changed at the upper left and at the lower right."""
    image, change = noise[0], _CHANGE * noise[1]
    height, width = image.shape[1:]
    images = torch.stack([image, image, image])
    images[1, :, : height // 2, : width // 2] += change[:, : height // 2, : width // 2]
    images[2, :, height // 2 :, width // 2 :] += change[:, height // 2 :, width // 2 :]
    return images


def _layout(output: Tensor, noise: Tensor) -> Layout | None:
    """The layout in which the output follows the changed corners best; None where it is no map."""
    if output.ndim == 0 or len(output) != 3 or not output.is_floating_point():
        return None
    _, channels, height, width = noise.shape
    shifts = {
        layout: _shift(layout.to_maps(output))
        for layout in possible_layouts(output.shape, (channels, height, width))
    }
    if not shifts:
        return None
    best = max(shifts, key=shifts.__getitem__)
    many_cells = best.to_maps(output)[0, 0].numel() >= _MANY_CELLS
    return None if many_cells and shifts[best] < _SMALLEST_SHIFT else best


def _shift(maps: Tensor) -> float:
    """How far the change moves between the changed corners, as a share of the map's length.

    Args:
        maps: (3, channels, h, w) for the inputs of `_changed_in_corners`.

    Returns:
        The distance of the centres of the squared changes, along the axis where it is less. That
        of the inputs themselves is 0.5, and that of maps that do not change 0.
    """
    change = (maps[1:] - maps[:1]).double().square().sum(dim=1)
    share = (change / change.sum(dim=(1, 2), keepdim=True)).nan_to_num()
    shifts: list[float] = []
    for axis, size in ((1, maps.shape[2]), (2, maps.shape[3])):
        positions = torch.linspace(0, 1, size, dtype=share.dtype, device=share.device)
        upper_left, lower_right = (share.sum(dim=3 - axis) @ positions).tolist()
        shifts.append(lower_right - upper_left)
    return min(shifts)
