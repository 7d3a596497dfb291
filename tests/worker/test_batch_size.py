"""The batch size: measured at load, and made smaller where memory does not suffice."""

import pytest
import torch
from torch import Tensor

from expound_worker.models.batch_size import BatchSize, BatchSizes, measure


class Device:
    """Has memory for so many items at a time, and for none that is marked."""

    def __init__(self, room: int, poison: int = -1) -> None:
        self.room = room
        self.poison = poison
        self.batches: list[int] = []

    def __call__(self, start: int, end: int) -> list[int]:
        self.batches.append(end - start)
        if end - start > self.room or start <= self.poison < end:
            raise torch.OutOfMemoryError("out of memory, as a test wants it")
        return list(range(start, end))


def run(size: BatchSize, count: int, device: Device) -> list[int]:
    return [item for batch in size.run(count, device) for item in batch]


def test_a_batch_that_does_not_fit_is_halved_and_the_size_is_kept() -> None:
    size, device = BatchSize(16), Device(room=5)
    assert run(size, 21, device) == list(range(21))
    assert device.batches == [16, 8, 4, 4, 4, 4, 4, 1]
    assert size.images == 4
    again = Device(room=5)
    assert run(size, 8, again) == list(range(8))
    assert again.batches == [4, 4]


def test_the_size_goes_by_the_batch_that_did_not_fit() -> None:
    size = BatchSize(64)
    run(size, 6, Device(room=3))
    assert size.images == 3


def test_an_item_that_never_fits_makes_no_batch_smaller() -> None:
    size = BatchSize(16)
    with pytest.raises(torch.OutOfMemoryError):
        run(size, 16, Device(room=16, poison=0))
    assert size.images == 16


def test_one_core_computes_what_more_cores_do_not_compute_clearly_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network whose batches of eight and more take half the time on two cores."""
    now_s = 0.0

    def network(batch: Tensor) -> Tensor:
        nonlocal now_s
        half = torch.get_num_threads() == 2 and len(batch) >= 8
        now_s += 0.002 * len(batch) * (0.5 if half else 1.0)
        return batch.flatten(1)[:, :4]

    monkeypatch.setattr("expound_worker.models.batch_size.time.perf_counter", lambda: now_s)
    before = torch.get_num_threads()
    try:
        sizes = measure(network, (3, 4, 4), torch.device("cpu"), cores=2)
        assert sizes == BatchSizes(batch_size=8, chunk_size=32, large=5)
        assert torch.get_num_threads() == 2
        assert measure(network, (3, 4, 4), torch.device("cpu"), cores=1).large == 1
    finally:
        torch.set_num_threads(before)
