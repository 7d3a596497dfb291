"""Libraries that draw from numpy's global generator, each as if it were alone."""

import threading

import numpy as np

from expound_worker.perturbation.randomness import global_randomness

DEADLINE_S = 30.0
MOMENT_S = 0.2


def draws_alone(seed: int) -> list[float]:
    return [float(value) for value in np.random.RandomState(seed).random_sample(2)]


class Other:
    """Another thread whose library draws twice, from seed 1."""

    def __init__(self) -> None:
        self.drawn: list[float] = []
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._thread.start()

    def _draw(self) -> None:
        with global_randomness(1):
            self.drawn = [np.random.random_sample() for _ in range(2)]
        self.done.set()


def test_a_library_draws_from_its_seed_and_leaves_the_process_its_state() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    with global_randomness(0):
        drawn = [np.random.random_sample() for _ in range(2)]
    assert drawn == draws_alone(0)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]


def test_another_thread_waits_while_a_library_draws() -> None:
    with global_randomness(0):
        first = np.random.random_sample()
        other = Other()
        assert not other.done.wait(MOMENT_S)
        second = np.random.random_sample()
    assert other.done.wait(DEADLINE_S)
    assert [first, second] == draws_alone(0)
    assert other.drawn == draws_alone(1)
