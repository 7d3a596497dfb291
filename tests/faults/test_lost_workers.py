"""Workers that are killed, stopped, or ended by what they are asked."""

import os
import signal
from collections.abc import Callable

import numpy as np
import pytest

from expound import records
from expound.reasons import Reason
from expound_client import Client, Explanation, MethodProgressed, State
from expound_client import methods as m
from expound_client.errors import ExplanationFailedError
from tests import photos
from tests.faults.conftest import Fleet
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.watcher import Watcher
from tests.processes import wait_until
from tests.service import Worker

LIME = m.Lime(n_samples=60_000)
WHITE = np.full((32, 32, 3), 255, np.uint8)


def _explain(client: Client) -> Explanation:
    return client.explain(photos.chelsea(), model="cifar", methods=["saliency", LIME], seed=5)


def _interrupt(fleet: Fleet, client: Client, inject: Callable[[Worker], None]) -> None:
    """Injects a fault in the middle of LIME, and checks that nobody could tell by its end."""
    fleet.one_worker()
    fleet.add_worker()
    with fleet.store() as store:
        explanation = _explain(client)
        watcher = Watcher(explanation)
        explanation_id = explanation.name.removeprefix("explanations/")
        checkpoint = records.checkpoint_key(explanation_id, "1")
        wait_until(lambda: store.exists(checkpoint) == 1, "the first checkpoint")
        holder = store.hget(records.record_key(explanation_id), "1:worker") or b""
        worker = next(each for each in fleet.workers if holder.endswith(f":{each.pid}".encode()))
        fleet.workers.remove(worker)
        inject(worker)
        result = explanation.result(120)
        watcher.join(60)
        check_events(watcher.events)
        assert watcher.attempts("lime") == [
            ("RUNNING", 1),
            ("PENDING", 1),
            ("RUNNING", 2),
            ("SUCCEEDED", 2),
        ]
        progress = [
            event.progress.evaluations_done
            for event in watcher.events
            if isinstance(event, MethodProgressed)
        ]
        assert progress == sorted(progress)
        check_nothing_left(store)
        again = _explain(client).result(120)
        # Workers may run the network in another order of the same sums.
        values, scale = result["lime"].values, np.abs(result["lime"].values).max()
        np.testing.assert_allclose(values, again["lime"].values, rtol=0, atol=1e-4 * scale)


def _kill(worker: Worker) -> None:
    worker.kill()


def test_lime_goes_on_from_its_checkpoint_when_its_worker_is_killed(
    fleet: Fleet, client: Client
) -> None:
    _interrupt(fleet, client, _kill)


def test_a_worker_that_is_asked_to_stop_leaves_its_job_to_another(
    fleet: Fleet, client: Client
) -> None:
    stopped: list[Worker] = []

    def stop(worker: Worker) -> None:
        worker.signal(signal.SIGTERM)
        stopped.append(worker)

    _interrupt(fleet, client, stop)
    assert stopped[0].process is not None
    assert stopped[0].process.wait(30) == 0


def test_work_whose_ticket_and_listener_are_lost_is_done(fleet: Fleet, client: Client) -> None:
    worker = fleet.one_worker()
    with fleet.store() as store:
        os.killpg(worker.pid, signal.SIGSTOP)
        explanation = client.explain(photos.chelsea(), model="cifar", methods=["saliency", "lime"])
        watcher = Watcher(explanation)
        store.delete(records.ready_key("default"))
        for key in store.keys("expound:celery:*"):
            store.delete(key)
        os.killpg(worker.pid, signal.SIGCONT)
        assert explanation.result(60).state is State.SUCCEEDED
        watcher.join(60)
        check_events(watcher.events)
        check_nothing_left(store)


@pytest.mark.long
def test_what_ends_its_workers_is_given_up_and_takes_no_other_with_it(
    fleet: Fleet, client: Client
) -> None:
    fleet.one_worker()
    job = client.explain(photos.chelsea(), model="cifar", methods=[LIME], timeout_s=600)
    poison = client.explain(WHITE, model="deadly", methods=["saliency"], timeout_s=600)
    others = [
        client.explain(photos.chelsea(), model="deadly", methods=["saliency"], timeout_s=600)
        for _ in range(8)
    ]
    with pytest.raises(ExplanationFailedError) as raised:
        poison.result(300)
    assert raised.value.reason is Reason.WORKER_LOST
    for explanation in (*others, job):
        assert explanation.result(300).state is State.SUCCEEDED
    with fleet.store() as store:
        check_nothing_left(store)
