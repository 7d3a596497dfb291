"""The batch size: measured at load, and made smaller where memory does not suffice."""

from collections.abc import Callable, Iterator

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


def test_the_size_is_halved_until_it_matters() -> None:
    size, device = BatchSize(32), Device(room=3)
    assert run(size, 6, device) == list(range(6))
    assert device.batches == [6, 6, 6, 4, 2, 2, 2]
    assert size.images == 2


def test_an_item_that_takes_batches_of_its_own_takes_smaller_ones() -> None:
    size = BatchSize(32)

    def run_path(start: int, _: int) -> int:
        if size.images > 8:
            raise torch.OutOfMemoryError("the points of a path, in batches of this size")
        return start

    assert list(size.run(1, run_path)) == [0]
    assert size.images == 8


def test_an_item_that_never_fits_makes_no_batch_smaller() -> None:
    size = BatchSize(16)
    with pytest.raises(torch.OutOfMemoryError):
        run(size, 16, Device(room=16, poison=0))
    assert size.images == 16


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., BatchSizes]]:
    """Measures a network that takes so many milliseconds for so many images on so many cores."""

    def run(takes_ms: Callable[[int, int], float], cores: int = 2) -> BatchSizes:
        now_s = 0.0

        def network(batch: Tensor) -> Tensor:
            nonlocal now_s
            now_s += takes_ms(len(batch), torch.get_num_threads()) / 1e3
            return batch.flatten(1)[:, :4]

        monkeypatch.setattr("expound_worker.models.batch_size.time.perf_counter", lambda: now_s)
        return measure(network, (3, 4, 4), torch.device("cpu"), cores=cores)

    before = torch.get_num_threads()
    yield run
    torch.set_num_threads(before)


def test_one_core_computes_what_more_cores_do_not_compute_clearly_faster(
    measured: Callable[..., BatchSizes],
) -> None:
    def half_from_eight_on(images: int, cores: int) -> float:
        return images * (1.0 if cores == 2 and images >= 8 else 2.0)

    sizes = measured(half_from_eight_on)
    assert sizes == BatchSizes(batch_size=8, chunk_size=32, large=5)
    assert torch.get_num_threads() == 2
    assert measured(half_from_eight_on, cores=1).large == 1


def test_one_core_computes_what_it_is_soon_done_with(measured: Callable[..., BatchSizes]) -> None:
    assert measured(lambda images, cores: images * 0.1 / cores).large == 17


def test_chunks_are_as_large_as_makes_up_for_what_is_between_them(
    measured: Callable[..., BatchSizes],
) -> None:
    sizes = measured(lambda images, _: images * (0.03 if images < 128 else 0.035), cores=1)
    assert sizes == BatchSizes(batch_size=1, chunk_size=256, large=1)


def test_a_hump_at_small_batches_hides_no_larger_one(measured: Callable[..., BatchSizes]) -> None:
    a_ms = {1: 1.0, 2: 1.5, 4: 1.2}
    sizes = measured(lambda images, _: images * a_ms.get(images, 0.5))
    assert sizes.batch_size == 8
