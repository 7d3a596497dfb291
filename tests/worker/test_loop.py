"""The device loop and the jobs, with a small network and no Redis."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from expound_worker.loop import DeviceLoop
from expound_worker.models.batch_size import BatchSize
from expound_worker.models.model import Model
from expound_worker.models.registry import Registry
from expound_worker.process.threads import compute_on
from expound_worker.unit import Released
from tests.numeric.models import cifar_net, with_module
from tests.processes import wait_until

DEADLINE_S = 30.0


class Gate(nn.Module):
    """Doubles its input's mean, notes the size of each batch, and waits at an open gate."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.room = 1000

    def forward(self, inputs: Tensor) -> Tensor:
        self.batches.append(len(inputs))
        self.entered.set()
        assert self.open.wait(DEADLINE_S)
        if len(inputs) > self.room:
            raise torch.OutOfMemoryError
        if bool(inputs.isnan().any()):
            raise ValueError("not a number")
        return 2 * inputs.mean(dim=(1, 2, 3))[:, None]


@pytest.fixture
def loop() -> Iterator[DeviceLoop]:
    loop = DeviceLoop()
    loop.start()
    yield loop
    loop.stop()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def model(gate: Gate) -> Model:
    return with_module(cifar_net(), gate, chunk=BatchSize(4))


def image(value: float, count: int = 1) -> Tensor:
    return torch.full((count, 3, 2, 2), float(value))


def test_chunks_of_several_jobs_fill_one_batch(loop: DeviceLoop, gate: Gate, model: Model) -> None:
    gate.open.clear()
    with ThreadPoolExecutor(4) as jobs:
        first = jobs.submit(loop.forward, model, image(1))
        assert gate.entered.wait(DEADLINE_S)
        others = [jobs.submit(loop.forward, model, image(value, 2)) for value in (2.0, 3.0, 4.0)]
        _wait_for_chunks(loop, 3)
        gate.open.set()
        answers = [job.result(DEADLINE_S) for job in (first, *others)]
    assert [len(answer) for answer in answers] == [1, 2, 2, 2]
    assert [float(answer[0]) for answer in answers] == [2, 4, 6, 8]
    assert gate.batches == [1, 4, 2]


def test_a_chunk_that_wants_to_be_alone_shares_no_batch(
    loop: DeviceLoop, gate: Gate, model: Model
) -> None:
    gate.open.clear()
    with ThreadPoolExecutor(4) as jobs:
        first = jobs.submit(loop.forward, model, image(1))
        assert gate.entered.wait(DEADLINE_S)
        jobs.submit(loop.forward, model, image(2))
        _wait_for_chunks(loop, 1)
        jobs.submit(loop.forward, model, image(3), alone=True)
        _wait_for_chunks(loop, 2)
        last = jobs.submit(loop.forward, model, image(4))
        _wait_for_chunks(loop, 3)
        gate.open.set()
        assert float(first.result(DEADLINE_S)) == 2 and float(last.result(DEADLINE_S)) == 8
    assert gate.batches == [1, 2, 1]


def test_a_chunk_that_fits_passes_one_that_does_not(
    loop: DeviceLoop, gate: Gate, model: Model
) -> None:
    gate.open.clear()
    with ThreadPoolExecutor(4) as jobs:
        first = jobs.submit(loop.forward, model, image(1))
        assert gate.entered.wait(DEADLINE_S)
        others = []
        for number, count in enumerate((2, 3, 1), start=1):
            others.append(jobs.submit(loop.forward, model, image(number, count)))
            _wait_for_chunks(loop, number)
        gate.open.set()
        answers = [job.result(DEADLINE_S) for job in (first, *others)]
    assert [float(answer[0]) for answer in answers] == [2, 2, 4, 6]
    assert gate.batches == [1, 3, 3]


def test_chunks_are_filled_only_as_far_as_memory_has_turned_out_to_go(
    loop: DeviceLoop, gate: Gate, model: Model
) -> None:
    gate.room = 2
    (job,) = Registry([model]).forwarding(loop.forward)
    job.logits(image(1, 8))
    assert gate.batches == [4, 2, 2, 2, 2]
    gate.open.clear()
    with ThreadPoolExecutor(3) as jobs:
        first = jobs.submit(loop.forward, model, image(1))
        assert gate.entered.wait(DEADLINE_S)
        others = [jobs.submit(loop.forward, model, image(value, 2)) for value in (2.0, 3.0)]
        _wait_for_chunks(loop, 2)
        gate.open.set()
        for each in (first, *others):
            each.result(DEADLINE_S)
    assert gate.batches[5:] == [1, 2, 2]


def test_a_bad_chunk_fails_alone(loop: DeviceLoop, gate: Gate, model: Model) -> None:
    gate.open.clear()
    with ThreadPoolExecutor(4) as jobs:
        first = jobs.submit(loop.forward, model, image(1))
        assert gate.entered.wait(DEADLINE_S)
        bad = jobs.submit(loop.forward, model, image(float("nan")))
        good = jobs.submit(loop.forward, model, image(2))
        _wait_for_chunks(loop, 2)
        gate.open.set()
        assert float(first.result(DEADLINE_S)) == 2
        assert float(good.result(DEADLINE_S)) == 4
        with pytest.raises(ValueError, match="not a number"):
            bad.result(DEADLINE_S)


def test_gradient_work_goes_before_the_chunks_that_wait(
    loop: DeviceLoop, gate: Gate, model: Model
) -> None:
    gate.open.clear()
    order: list[str] = []
    with ThreadPoolExecutor(2) as jobs:
        jobs.submit(loop.forward, model, image(1))
        assert gate.entered.wait(DEADLINE_S)
        second = jobs.submit(loop.forward, model, image(2, 4))
        second.add_done_callback(lambda _: order.append("chunk"))
        _wait_for(loop, lambda: len(loop._chunks) == 1)
        work = loop.run(lambda: order.append("work"))
        gate.open.set()
        work.result(DEADLINE_S)
        second.result(DEADLINE_S)
    assert order == ["work", "chunk"]


def test_work_that_ends_soon_goes_before_work_that_lasts(loop: DeviceLoop) -> None:
    order: list[str] = []
    begun, all_there = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        assert all_there.wait(DEADLINE_S)

    loop.run(first)
    assert begun.wait(DEADLINE_S)
    lasting = loop.run(lambda: order.append("lasting"), lasting=True)
    loop.run(lambda: order.append("soon"))
    all_there.set()
    lasting.result(DEADLINE_S)
    assert order == ["soon", "lasting"]


def test_a_stop_lets_what_waits_run(loop: DeviceLoop) -> None:
    begun, all_there = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        assert all_there.wait(DEADLINE_S)

    loop.run(first)
    assert begun.wait(DEADLINE_S)
    waiting = [loop.run(lambda: None, lasting=lasting) for lasting in (False, True)]
    with ThreadPoolExecutor(1) as stopping:
        stopping.submit(loop.stop)
        _wait_for(loop, lambda: loop._stopping)
        all_there.set()
    assert all(work.done() for work in waiting)


def test_a_step_begins_anew_where_work_that_lasts_has_given_way(loop: DeviceLoop) -> None:
    """What watches it takes neither idleness nor work that goes on for a step that hangs."""

    def lasting() -> None:
        assert loop.step_s() > 0
        given_way_s = time.monotonic()
        loop.give_way()
        assert 0 < loop.step_s() <= time.monotonic() - given_way_s

    loop.run(lasting, lasting=True).result(DEADLINE_S)
    wait_until(lambda: loop.step_s() == 0, "the loop being idle")


def test_work_that_is_left_alone_counts_as_a_step() -> None:
    loop = DeviceLoop()
    ended = loop.run(lambda: None)
    assert loop.step_s() > 0
    loop.start()
    ended.result(DEADLINE_S)
    wait_until(lambda: loop.step_s() == 0, "the loop being idle")
    loop.stop()


def test_chunks_that_are_refused_while_they_wait_leave_the_loop_idle(model: Model) -> None:
    loop = DeviceLoop()
    with ThreadPoolExecutor(1) as caller:
        chunk = caller.submit(loop.forward, model, torch.zeros(1, 3, 32, 32))
        wait_until(lambda: loop.step_s() > 0, "the chunk")
        with loop.refusing():
            loop.start()
            wait_until(lambda: loop.step_s() == 0, "the loop being idle")
        with pytest.raises(Released):
            chunk.result(DEADLINE_S)
    loop.stop()


def test_work_that_lasts_gives_way_to_work_and_chunks(
    loop: DeviceLoop, gate: Gate, model: Model
) -> None:
    order: list[str] = []
    begun, all_there = threading.Event(), threading.Event()

    def lasting() -> None:
        begun.set()
        assert all_there.wait(DEADLINE_S)
        loop.give_way()
        order.append("lasting")

    with ThreadPoolExecutor(1) as jobs:
        ended = loop.run(lasting, lasting=True)
        ended.add_done_callback(lambda _: order.append("end"))
        assert begun.wait(DEADLINE_S)
        chunk = jobs.submit(loop.forward, model, image(1))
        _wait_for_chunks(loop, 1)
        loop.run(lambda: order.append("work"))
        loop.run(lambda: order.append("lasting too"), lasting=True)
        all_there.set()
        assert float(chunk.result(DEADLINE_S)) == 2
        ended.result(DEADLINE_S)
    assert gate.batches == [1]
    assert order[:3] == ["work", "lasting", "end"]


def test_work_that_lasts_is_given_back_where_somebody_needs_the_device_alone(
    loop: DeviceLoop,
) -> None:
    with loop.refusing():
        with pytest.raises(Released):
            loop.run(loop.give_way, lasting=True).result(DEADLINE_S)
        loop.run(partial(loop.give_way, refuses=True), lasting=True).result(DEADLINE_S)


def test_who_brings_gradient_work_is_told_how_it_fails(loop: DeviceLoop) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        loop.run(fail).result(DEADLINE_S)
    loop.run(lambda: None).result(DEADLINE_S)


def test_chunks_that_wait_and_those_that_come_can_be_refused(
    loop: DeviceLoop, gate: Gate, model: Model
) -> None:
    gate.open.clear()
    with ThreadPoolExecutor(2) as jobs:
        first = jobs.submit(loop.forward, model, image(1))
        assert gate.entered.wait(DEADLINE_S)
        waiting = jobs.submit(loop.forward, model, image(2))
        _wait_for_chunks(loop, 1)
        with loop.refusing():
            with pytest.raises(Released):
                waiting.result(DEADLINE_S)
            with pytest.raises(Released):
                loop.forward(model, image(3))
        gate.open.set()
        assert float(first.result(DEADLINE_S)) == 2
    assert float(loop.forward(model, image(3))) == 6


def test_threads_that_compute_on_one_core_leave_it_its_own_cores(
    loop: DeviceLoop, gate: Gate, model: Model
) -> None:
    found: list[int] = []

    def note(*_: object) -> None:
        found.append(torch.get_num_threads())

    cores = torch.get_num_threads()
    beside = threading.Thread(target=compute_on, args=(1,))
    beside.start()
    beside.join()
    hook = gate.register_forward_hook(note)
    loop.forward(model, image(1))
    hook.remove()
    assert found == [cores]


def test_a_defect_of_the_loop_ends_the_process() -> None:
    script = """
from expound_worker.loop import DeviceLoop
loop = DeviceLoop()
loop.start()
loop.forward(None, [])
"""
    ended = subprocess.run([sys.executable, "-c", script], timeout=120, capture_output=True)
    assert ended.returncode == os.EX_SOFTWARE
    assert b"device-loop has a defect" in ended.stderr


def _wait_for_chunks(loop: DeviceLoop, count: int) -> None:
    _wait_for(loop, lambda: len(loop._chunks) == count)


def _wait_for(loop: DeviceLoop, holds: Callable[[], bool]) -> None:
    with loop._changed:
        assert loop._changed.wait_for(holds, DEADLINE_S)
