"""Gradient work that takes long: others are answered beside it, and it can be stopped."""

import signal
from datetime import UTC, datetime

import numpy as np
import pytest

from expound.reasons import Reason
from expound_client import Client, Explanation, MethodStateChanged, State
from expound_client import methods as m
from expound_client.errors import ExplanationCancelledError, ExplanationFailedError
from tests import photos
from tests.faults.conftest import Fleet
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.ownership import holder
from tests.faults.watcher import Watcher
from tests.processes import wait_until

PHOTO = photos.chelsea()
KEY = "integrated_gradients_smoothgrad"
LONGER_THAN_A_TEST = m.IntegratedGradients(n_steps=500, noise_tunnel=m.NoiseTunnel(n_samples=1000))
LONG = m.IntegratedGradients(n_steps=50, noise_tunnel=m.NoiseTunnel(n_samples=200))
LEASE_S = 10.0
"""What is begun again sooner was given back."""


def _begun(
    client: Client, method: m.IntegratedGradients, timeout_s: float | None = None
) -> tuple[Explanation, Watcher]:
    explanation = client.explain(
        PHOTO, model="cifar", methods=["saliency", method], seed=5, timeout_s=timeout_s
    )
    watcher = Watcher(explanation)
    wait_until(lambda: ("RUNNING", 1) in watcher.attempts(KEY), "its beginning")
    return explanation, watcher


def _check_free(fleet: Fleet, client: Client) -> None:
    """Checks that the device has nothing else to do: more that lasts is done."""
    result = client.explain(PHOTO, model="cifar", methods=["integrated_gradients"]).result(60)
    assert result.state is State.SUCCEEDED
    with fleet.store() as store:
        check_nothing_left(store)


def test_others_are_answered_while_gradients_last_and_a_cancel_ends_them(
    fleet: Fleet, client: Client
) -> None:
    fleet.one_worker()
    explanation, watcher = _begun(client, LONGER_THAN_A_TEST)
    others = client.explain(PHOTO, model="cifar", methods=["grad_cam", m.Lime(n_samples=500)])
    assert others.result(60).state is State.SUCCEEDED
    assert watcher.attempts(KEY) == [("RUNNING", 1)]
    explanation.cancel()
    with pytest.raises(ExplanationCancelledError) as raised:
        explanation.result(60)
    assert raised.value.result["saliency"].values.any()
    watcher.join(20)
    check_events(watcher.events)
    assert watcher.attempts(KEY) == [("RUNNING", 1), ("CANCELLED", 1)]
    _check_free(fleet, client)


def test_gradients_end_at_their_deadline(fleet: Fleet, client: Client) -> None:
    fleet.one_worker()
    explanation, watcher = _begun(client, LONGER_THAN_A_TEST, timeout_s=5)
    with pytest.raises(ExplanationFailedError) as raised:
        explanation.result(60)
    assert raised.value.reason is Reason.DEADLINE_EXCEEDED
    watcher.join(20)
    check_events(watcher.events)
    _check_free(fleet, client)


def test_a_worker_that_is_asked_to_stop_gives_its_gradients_back(
    fleet: Fleet, client: Client
) -> None:
    """Another begins them anew, without waiting for a lease, and answers others beside them."""
    fleet.one_worker()
    fleet.add_worker()
    explanation, watcher = _begun(client, LONG)
    with fleet.store() as store:
        held_by = holder(store, explanation, "1")
    worker = next(each for each in fleet.workers if held_by.endswith(f":{each.pid}"))
    fleet.workers.remove(worker)
    asked_at = datetime.now(UTC)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: ("RUNNING", 2) in watcher.attempts(KEY), "its second beginning")
    beside = client.explain(PHOTO, model="cifar", methods=["grad_cam"])
    assert beside.result(60).state is State.SUCCEEDED
    assert watcher.attempts(KEY)[-1] == ("RUNNING", 2)
    result = explanation.result(120)
    watcher.join(60)
    check_events(watcher.events)
    expected = [("RUNNING", 1), ("PENDING", 1), ("RUNNING", 2), ("SUCCEEDED", 2)]
    assert watcher.attempts(KEY) == expected
    began_again = next(
        event
        for event in watcher.events
        if isinstance(event, MethodStateChanged) and (event.key, event.attempt) == (KEY, 2)
    )
    assert worker.process is not None and worker.process.wait(30) == 0
    taken_over_s = (began_again.time - asked_at).total_seconds()
    print(f"taken over after {taken_over_s:.2f} s")
    assert taken_over_s < LEASE_S
    again = client.explain(PHOTO, model="cifar", methods=["saliency", LONG], seed=5, fresh=True)
    values, scale = result[KEY].values, np.abs(result[KEY].values).max()
    np.testing.assert_allclose(values, again.result(120)[KEY].values, rtol=0, atol=1e-4 * scale)
    with fleet.store() as store:
        check_nothing_left(store)
