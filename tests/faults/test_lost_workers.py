"""Workers that are killed, stopped, or ended by what they are asked."""

import os
import signal
from collections.abc import Callable

import grpc
import numpy as np
import pytest
import redis

from expound import records
from expound.reasons import Reason
from expound.v1 import explanation_service_pb2, explanation_service_pb2_grpc
from expound_client import Client, Explanation, MethodProgressed, State
from expound_client import methods as m
from expound_client.errors import ExplanationFailedError
from tests import photos
from tests.faults.conftest import Fleet
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.ownership import holder, owned
from tests.faults.watcher import Watcher
from tests.processes import children, resident_bytes, wait_until
from tests.service import Worker

LIME = m.Lime(n_samples=1500)
LONG_LIME = m.Lime(n_samples=20_000)
WHITE = np.full((32, 32, 3), 255, np.uint8)
TWICE = [("RUNNING", 1), ("PENDING", 1), ("RUNNING", 2), ("SUCCEEDED", 2)]
REISSUED_S = 15.0


def _explain(client: Client) -> Explanation:
    return client.explain(photos.chelsea(), model="slow", methods=["saliency", LIME], seed=5)


def _begun(explanation: Explanation, store: redis.Redis) -> str:
    """Waits until LIME has kept a first checkpoint; which worker it is that runs it."""
    explanation_id = explanation.name.removeprefix("explanations/")
    checkpoint = records.checkpoint_key(explanation_id, "1")
    wait_until(lambda: store.exists(checkpoint) == 1, "the first checkpoint")
    return holder(store, explanation, "1")


def _interrupt(fleet: Fleet, client: Client, inject: Callable[[Worker], None]) -> None:
    """Injects a fault in the middle of LIME, and checks that nobody could tell by its end."""
    fleet.one_worker()
    fleet.add_worker()
    with fleet.store() as store:
        explanation = _explain(client)
        watcher = Watcher(explanation)
        held_by = _begun(explanation, store)
        worker = next(each for each in fleet.workers if held_by.endswith(f":{each.pid}"))
        fleet.workers.remove(worker)
        (lime,) = owned(store, worker.pid)
        inject(worker)
        result = explanation.result(120)
        watcher.join(60)
        check_events(watcher.events)
        assert watcher.attempts("lime") == TWICE
        reissued_s = lime.reissued_after_s(store)
        assert reissued_s is not None and reissued_s < REISSUED_S
        print(f"put back after {reissued_s:.2f} s")
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


def test_a_device_process_that_is_killed_alone_is_replaced_and_its_job_goes_on(
    fleet: Fleet, client: Client
) -> None:
    """Case 1: the same worker makes the second attempt, and the stream of a watcher stays open."""
    worker = fleet.one_worker()
    device = _device(worker)
    with fleet.store() as store, grpc.insecure_channel(fleet.server.address) as channel:
        explanation = _explain(client)
        stub = explanation_service_pb2_grpc.ExplanationServiceStub(channel)
        wanted = explanation_service_pb2.WatchExplanationRequest(name=explanation.name)
        stream = stub.WatchExplanation(wanted, timeout=200)
        watcher = Watcher(explanation)
        held_by = _begun(explanation, store)
        (lime,) = owned(store, worker.pid)
        os.kill(device, signal.SIGKILL)
        assert explanation.result(200).state is State.SUCCEEDED
        assert holder(store, explanation, "1") == held_by
        assert device not in children(worker.pid)
        watcher.join(60)
        check_events(watcher.events)
        assert watcher.attempts("lime") == TWICE
        reissued_s = lime.reissued_after_s(store)
        assert reissued_s is not None and reissued_s < REISSUED_S
        print(f"put back after {reissued_s:.2f} s")
        # A stream that had been closed before the end would raise here.
        assert [event.sequence for event in stream] == [e.sequence for e in watcher.events]
        check_nothing_left(store)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_what_ends_its_workers_behind_each_checkpoint_is_given_up(
    fleet: Fleet, client: Client
) -> None:
    worker = fleet.one_worker()
    with fleet.store() as store:
        explanation = client.explain(
            photos.chelsea(), model="slow", methods=[LONG_LIME], seed=5, timeout_s=1800
        )
        explanation_id = explanation.name.removeprefix("explanations/")
        checkpoint = records.checkpoint_key(explanation_id, "0")
        kept = None
        for _ in range(10):
            wait_until(lambda before=kept: store.get(checkpoint) != before, "a checkpoint", 120)  # type: ignore[misc]
            kept = store.get(checkpoint)
            os.kill(_device(worker), signal.SIGKILL)
        with pytest.raises(ExplanationFailedError) as raised:
            explanation.result(60)
        assert raised.value.reason is Reason.WORKER_LOST
        assert "10 workers were lost" in str(raised.value)
        check_nothing_left(store)


def _device(worker: Worker) -> int:
    """The process of a worker that has its models."""
    return max(children(worker.pid), key=resident_bytes)


def test_work_whose_ticket_and_listener_are_lost_is_done(fleet: Fleet, client: Client) -> None:
    worker = fleet.one_worker()
    with fleet.store() as store:
        os.killpg(worker.pid, signal.SIGSTOP)
        explanation = client.explain(photos.chelsea(), model="cifar", methods=["saliency", "lime"])
        watcher = Watcher(explanation)
        store.delete(f"{records.PREFIX}ready:default")
        for key in store.keys("expound:celery:*"):
            store.delete(key)
        os.killpg(worker.pid, signal.SIGCONT)
        assert explanation.result(60).state is State.SUCCEEDED
        watcher.join(60)
        check_events(watcher.events)
        check_nothing_left(store)


@pytest.mark.long
@pytest.mark.parametrize("model", ["deadly", "faulty"])
def test_what_ends_its_workers_is_given_up_and_takes_no_other_with_it(
    fleet: Fleet, client: Client, model: str
) -> None:
    fleet.one_worker()
    job = client.explain(photos.chelsea(), model="slow", methods=[LIME], timeout_s=600)
    poison = client.explain(WHITE, model=model, methods=["saliency"], timeout_s=600)
    others = [
        client.explain(photos.chelsea(), model=model, methods=["saliency"], timeout_s=600)
        for _ in range(8)
    ]
    with pytest.raises(ExplanationFailedError) as raised:
        poison.result(300)
    assert raised.value.reason is Reason.WORKER_LOST
    for explanation in (*others, job):
        assert explanation.result(300).state is State.SUCCEEDED
    with fleet.store() as store:
        check_nothing_left(store)
