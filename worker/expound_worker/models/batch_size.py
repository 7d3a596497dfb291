"""Measures how many images in one forward pass are fastest, a second or so at load."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from expound_worker.process.threads import compute_on

logger = logging.getLogger(__name__)

_Made = TypeVar("_Made")

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CHUNK_S = 0.05
"""How long a chunk of a job may keep others from the device."""
_BETWEEN_S = 0.001
"""What else a job does for each chunk: the fewer of them, the better."""
_LONGEST_S = 0.25
_ROUNDS = 3
_LEAST_S = 0.02
"""What else the machine does would spoil all rounds of a shorter measurement."""
_CLEARLY_FASTER = 0.9
_SHORT_S = 0.002
"""A pass that one core is done with so soon leaves the others to who else wants them."""
_AS_GOOD = 1.1
_ABOUT = 1.25


class BatchSize:
    """Number of images in one forward pass; where memory does not suffice, it becomes smaller.

    Attributes:
        images: the number.
    """

    def __init__(self, images: int) -> None:
        """Begins with so many."""
        self.images = images

    def run(self, count: int, run: Callable[[int, int], _Made]) -> Iterator[_Made]:
        """Runs `count` items in batches, and gives what each batch gives.

        Where memory does not suffice the number is halved, and the batch made again. An item may
        take batches of its own, of as many images: the points of a path, or copies with noise.

        Args:
            count: number of items.
            run: runs those from one number to before another.

        Raises:
            torch.OutOfMemoryError: an image does not fit alone; the number stays what it was.
        """
        before, start = self.images, 0
        while start < count:
            end = min(start + self.images, count)
            try:
                made = run(start, end)
            except torch.OutOfMemoryError:
                if self.images == 1:
                    self.images = before
                    raise
                self._halve()
            else:
                start = end
                yield made

    def _halve(self) -> None:
        self.images //= 2
        logger.warning("memory does not suffice: batches of %d images from now on", self.images)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class BatchSizes:
    """Numbers of images in one forward pass.

    Attributes:
        batch_size: the smallest that takes the least time an image, or nearly so.
        chunk_size: the largest such of those that take at most about `CHUNK_S`, where `_BETWEEN_S`
            of other work goes with each; 1 where none does.
        large: the smallest that all cores compute clearly faster than one, and that is not short.
    """

    batch_size: int
    chunk_size: int
    large: int


def measure(
    run: Callable[[Tensor], Tensor],
    input_shape: tuple[int, int, int],
    device: torch.device,
    cores: int,
) -> BatchSizes:
    """Measures what runs a network.

    Sizes grow until one takes long or does not fit into memory: a network may take longer over two
    images than over two times one, and less over four.

    Args:
        run: runs a batch.
        input_shape: (C, H, W).
        device: where it runs.
        cores: how many cores compute, on the CPU.
    """
    measured: dict[int, float] = {}
    small: list[int] = []
    for size in SIZES:
        batch = torch.zeros((size, *input_shape), device=device)
        try:
            image_s = _seconds_an_image(run, batch, cores)
            if len(small) == len(measured) and cores > 1 and device.type == "cpu":
                one_s = _seconds_an_image(run, batch, 1)
                if image_s > _CLEARLY_FASTER * one_s or size * one_s < _SHORT_S:
                    small.append(size)
                    image_s = one_s
        except torch.OutOfMemoryError:
            break
        measured[size] = image_s
        if size * image_s > _LONGEST_S:
            break
    compute_on(cores)
    longest_s = _ABOUT * CHUNK_S
    short = {
        size: image_s + _BETWEEN_S / size
        for size, image_s in measured.items()
        if size * image_s <= longest_s
    }
    return BatchSizes(
        batch_size=min(_good(measured)),
        chunk_size=max(_good(short)),
        large=max(small, default=0) + 1,
    )


def _good(measured: dict[int, float]) -> list[int]:
    """The sizes that are as good as the best."""
    least_s = min(measured.values(), default=0.0)
    good = [size for size, image_s in measured.items() if image_s <= _AS_GOOD * least_s]
    return good or [SIZES[0]]


@torch.inference_mode()
def _seconds_an_image(run: Callable[[Tensor], Tensor], batch: Tensor, cores: int) -> float:
    compute_on(cores)
    run(batch)
    measured: list[float] = []
    while len(measured) < _ROUNDS or sum(measured) < _LEAST_S:
        start = time.perf_counter()
        # Reading a value waits for the device.
        run(batch).sum().item()
        measured.append(time.perf_counter() - start)
    return min(measured) / len(batch)
