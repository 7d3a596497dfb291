"""Layouts: where the channels and the positions are in the output of a layer."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

_MAX_LEADING_TOKENS = 5
"""A class token and four registers."""


@dataclass(frozen=True)
class Layout:
    """How a layer's output is read as maps (N, channels, h, w).

    Attributes:
        channels_last: whether the channels are the last axis, not the second.
        grid: (h, w) of outputs (N, tokens, channels), whose tokens are the positions row by row;
            None for outputs with two axes of positions.
        leading_tokens: tokens before those of the positions: class tokens and registers.
    """

    channels_last: bool
    grid: tuple[int, int] | None = None
    leading_tokens: int = 0

    def to_maps(self, output: Tensor) -> Tensor:
        """A view (N, channels, h, w) of an output; leading tokens are left out."""
        if self.grid is not None:
            output = output[:, self.leading_tokens :].unflatten(1, self.grid)
        return output.movedim(-1, 1) if self.channels_last else output

    def __str__(self) -> str:
        """In words: "tokens after 1 leading token"."""
        if self.grid is None:
            return "channels last" if self.channels_last else "channels first"
        leading = f" after {self.leading_tokens} leading" if self.leading_tokens else ""
        return f"tokens{leading}"


CHANNELS_FIRST = Layout(channels_last=False)
CHANNELS_LAST = Layout(channels_last=True)


def possible_layouts(shape: Sequence[int], input_shape: tuple[int, int, int]) -> Iterator[Layout]:
    """The layouts in which an output of that shape may be a map of the input.

    A map is larger than one cell and has the input's proportions; tokens are a grid of patches.

    Args:
        shape: of the output, its batch included.
        input_shape: (C, H, W).
    """
    _, height, width = input_shape
    if len(shape) == 4:
        if _is_map(shape[2:], (height, width)):
            yield CHANNELS_FIRST
        if _is_map(shape[1:3], (height, width)):
            yield CHANNELS_LAST
    elif len(shape) == 3:
        yield from _token_layouts(shape[1], height, width)


def _is_map(size: Sequence[int], input_size: tuple[int, int]) -> bool:
    """Whether it is larger than one cell, and as long for its width as the input, to a cell."""
    (height, width), (input_height, input_width) = size, input_size
    scales = (height / input_height, width / input_width)
    return min(height, width) > 1 and abs(scales[0] - scales[1]) * max(size) <= max(scales)


def _token_layouts(token_count: int, height: int, width: int) -> list[Layout]:
    """Those of square patches that fill the input; if none fits, of patches that leave a rest."""
    lengths = range(1, min(height, width) + 1)
    filling = {
        (height // length, width // length)
        for length in lengths
        if height % length == width % length == 0
    }
    cut_off = {(height // length, width // length) for length in lengths}
    padded = {(-(-height // length), -(-width // length)) for length in lengths}
    return _that_fit(filling, token_count) or _that_fit(cut_off | padded, token_count)


def _that_fit(grids: set[tuple[int, int]], token_count: int) -> list[Layout]:
    """Those of grids, larger than one cell, that leave no more than the leading tokens."""
    return [
        Layout(channels_last=True, grid=grid, leading_tokens=token_count - math.prod(grid))
        for grid in sorted(grids)
        if min(grid) > 1 and 0 <= token_count - math.prod(grid) <= _MAX_LEADING_TOKENS
    ]
