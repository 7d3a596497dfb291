"""Items that run as one batch."""

import os
import subprocess
import sys
from collections.abc import Sequence

from expound_worker.batches import in_halves


def test_a_good_batch_runs_once() -> None:
    runs: list[Sequence[int]] = []

    def double(items: Sequence[int]) -> list[int]:
        runs.append(items)
        return [2 * item for item in items]

    assert in_halves(double, [1, 2, 3]) == [2, 4, 6]
    assert runs == [[1, 2, 3]]


def test_one_bad_item_fails_alone() -> None:
    def invert(items: Sequence[int]) -> list[float]:
        return [1 / item for item in items]

    first, second, third, bad, last = in_halves(invert, [1, 2, 4, 0, 5])
    assert (first, second, third, last) == (1, 0.5, 0.25, 0.2)
    assert isinstance(bad, ZeroDivisionError)


def test_of_nothing_nothing_is_run() -> None:
    assert in_halves(lambda _: [1 / 0], []) == []


def test_an_error_of_a_lost_device_ends_the_process() -> None:
    script = """
import torch
from expound_worker.batches import in_halves
def fail(items):
    raise torch.AcceleratorError("CUDA error: device-side assert triggered")
in_halves(fail, [1, 2])
"""
    ended = subprocess.run([sys.executable, "-c", script], timeout=120, capture_output=True)
    assert ended.returncode == os.EX_UNAVAILABLE
