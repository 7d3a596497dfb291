"""Which threads compute on all cores: the device loop's, and no other.

OpenMP keeps a team of threads for every thread that has ever computed. As soon as all teams
together are larger than the machine, they no longer spin while they wait for one another but sleep,
and a network of many small layers takes twice as long.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Made = TypeVar("_Made")


def compute_on_one_core() -> None:
    """Keeps what this thread computes on one core; for all threads beside the device loop's."""
    torch.set_num_threads(1)


def in_passing_thread(make: Callable[[], _Made]) -> _Made:
    """Runs `make` on all cores, in a thread whose team ends with it; raises what it raises."""
    with ThreadPoolExecutor(1) as passing:
        return passing.submit(make).result()
