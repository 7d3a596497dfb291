"""Randomness of libraries that draw from numpy's global generator and know no other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_drawing = threading.Lock()
"""Held by the one thread whose library draws: jobs run side by side, and share the generator."""


@contextmanager
def global_randomness(seed: int) -> Iterator[None]:
    """Seeds numpy's global generator for a library's call, and gives it back as it was.

    Other threads that want the same wait.
    """
    with _drawing:
        state = np.random.get_state()
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)
