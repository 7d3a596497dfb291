"""Images that are meant to break what reads them cost themselves alone."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from expound.reasons import Reason
from expound_client import Client, MethodProgressed, State
from expound_client import methods as m
from expound_client.errors import ExplanationFailedError, InvalidArgumentError
from tests import photos
from tests.faults.conftest import Fleet
from tests.faults.hostile_images import hostile_images, slow_jpeg
from tests.faults.invariants import check_nothing_left
from tests.faults.watcher import Watcher
from tests.processes import children, resident_bytes, wait_until
from tests.service import Worker

JPEG = photos.encoded("cifar")
BOUND_S = 30.0
# The worker keeps the memory that the largest images took, as received and as images: a thread for
# each core reads one.
LARGEST_BYTES = len(os.sched_getaffinity(0)) * 2 * 4 * 50_000_000
LEAK_BYTES = 50_000_000
MINUTES_OF_LIME = m.Lime(n_samples=100_000)

Answer = tuple[Reason | None, list[str], float]
"""The reason, None for a result; the paths of the fields to blame; the seconds it took."""


def _device(worker: Worker) -> int:
    """Id of the process that has the models."""
    (device,) = [
        child
        for child in children(worker.pid)
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return device


def _answer(client: Client, image: bytes) -> Answer:
    started_s = time.monotonic()
    try:
        client.explain(image, model="cifar", methods=["saliency"]).result(120)
    except (ExplanationFailedError, InvalidArgumentError) as error:
        fields = [violation.field for violation in error.violations]
        return error.reason, fields, time.monotonic() - started_s
    return None, [], time.monotonic() - started_s


def _evaluations(watcher: Watcher) -> int:
    """How many evaluations of a job have been reported."""
    done = [e.progress.evaluations_done for e in watcher.events if isinstance(e, MethodProgressed)]
    return max(done, default=0)


def _answers(client: Client, images: dict[str, bytes]) -> dict[str, Answer]:
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda image: _answer(client, image), images.values())
        return dict(zip(images, answers, strict=True))


def test_each_of_two_hundred_hostile_images_is_explained_or_refused(
    fleet: Fleet, client: Client
) -> None:
    # Images are read by workers alone: what is wrong with one is told by the explanation, which
    # fails, rather than by the call that asks for it. Empty ones are refused at once.
    images = hostile_images()
    assert len(images) >= 200
    worker = fleet.one_worker()
    device = _device(worker)
    refused = (Reason.INVALID_IMAGE, ["inputs[0].image"])
    for _ in range(20):
        assert _answer(client, JPEG)[0] is None
    before = resident_bytes(device)
    answers = _answers(client, images)
    wrong = {
        name: answer
        for name, answer in answers.items()
        if (answer[0] is not None and answer[:2] != refused) or answer[2] > BOUND_S
    }
    assert wrong.pop("nothing")[:2] == (Reason.INVALID_FIELD, ["inputs[0].image"])
    assert wrong == {}
    read = sum(reason is None for reason, _, _ in answers.values())
    assert 20 <= read <= len(images) // 2
    assert _device(worker) == device
    assert resident_bytes(device) - before < LARGEST_BYTES
    assert client.explain(JPEG, model="cifar", methods=["lime"]).result(60).state is State.SUCCEEDED
    with fleet.store() as store:
        check_nothing_left(store)


def test_slow_images_hold_nobody_up_once_they_are_cancelled(fleet: Fleet, client: Client) -> None:
    fleet.one_worker()
    slow = client.explain([slow_jpeg()] * 256, model="cifar", methods=["saliency"])
    wait_until(lambda: client.get(slow.name).state is State.RUNNING, "its beginning")
    slow.cancel()
    # All of them would take minutes. Many images are work that lasts, as integrated gradients are.
    again = client.explain(JPEG, model="cifar", methods=["integrated_gradients"]).result(60)
    assert again.state is State.SUCCEEDED
    with fleet.store() as store:
        check_nothing_left(store)


def test_a_decoding_process_that_is_killed_again_and_again_is_not_noticed(
    fleet: Fleet, client: Client
) -> None:
    worker = fleet.one_worker()
    device = _device(worker)
    for _ in range(5):
        for process in children(device):
            os.kill(process, signal.SIGKILL)
        assert _answer(client, JPEG)[0] is None
    assert _device(worker) == device


@pytest.mark.long
def test_hostile_images_leave_no_memory_behind(fleet: Fleet, client: Client) -> None:
    images = hostile_images()
    worker = fleet.one_worker()
    _answers(client, images)
    device = _device(worker)
    processes = [device, *children(device)]
    sizes = []
    for _ in range(8):
        _answers(client, images)
        sizes.append(sum(map(resident_bytes, processes)))
    assert [device, *children(device)] == processes
    # Where the largest images meet it has what they take, and may give it back behind another
    # round: what counts is how much it ever has.
    assert max(sizes[5:]) - max(sizes[:5]) < LEAK_BYTES, sizes


@pytest.mark.long
def test_an_image_that_is_never_decoded_fails_and_others_do_not_wait_for_it_twice(
    fleet: Fleet, client: Client
) -> None:
    """Nor do the jobs that run wait for it at all."""
    worker = fleet.one_worker()
    device = _device(worker)
    job = client.explain(JPEG, model="slow", methods=[MINUTES_OF_LIME])
    watcher = Watcher(job)
    wait_until(lambda: _evaluations(watcher) > 0, "a job's beginning")
    stopped = children(device)
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    done_before = _evaluations(watcher)
    reason, fields, took_s = _answer(client, JPEG)
    done_meanwhile = _evaluations(watcher) - done_before
    for process in set(stopped) & set(children(device)):
        os.kill(process, signal.SIGCONT)
    assert (reason, fields) == (Reason.INVALID_IMAGE, ["inputs[0].image"])
    assert 9 < took_s < 20
    assert done_meanwhile > 100
    job.cancel()
    reason, _, took_s = _answer(client, JPEG)
    assert reason is None
    assert took_s < 9
    assert _device(worker) == device
