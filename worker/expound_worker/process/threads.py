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


def compute_on(cores: int) -> None:
    """Makes this thread compute on so many cores: on one, unless it is the device loop's."""
    # When a thread first asks, it is given what any thread has set last.
    torch.get_num_threads()
    torch.set_num_threads(cores)


def in_passing_thread(make: Callable[[], _Made]) -> _Made:
    """Runs `make` on all cores, in a thread whose team ends with it; raises what it raises."""
    with ThreadPoolExecutor(1) as passing:
        return passing.submit(make).result()
