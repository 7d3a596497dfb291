"""Randomness of libraries that draw from numpy's global generator and know no other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_global_state = threading.Lock()
"""Held by the one thread whose library draws: jobs run side by side, and share the generator."""


class GlobalRandomness:
    """A state of numpy's global generator, kept apart from that of the process.

    ``with randomness.swapped()`` around a library's call gives it this state, and the process its
    own again; other threads that want the same wait. Within, where the library calls back, a second
    one gives the callback the process' state, and the library finds its own as it left it.
    """

    def __init__(self, seed: int) -> None:
        self._other: dict[str, Any] | tuple[Any, ...] = np.random.RandomState(seed).get_state()
        self._drawing = False

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Exchanges the global state and the one kept here, and exchanges them back."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        if not self._drawing:
            _global_state.acquire()
        current = np.random.get_state()
        np.random.set_state(self._other)
        self._other = current
        self._drawing = not self._drawing
        if not self._drawing:
            _global_state.release()
