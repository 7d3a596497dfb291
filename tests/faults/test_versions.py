"""Two versions of a model, one name: no explanation is made of both."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from expound import records
from expound.reasons import Reason
from expound_client import Client, ExplanationResult, PredictionsReady, State
from expound_client import methods as m
from expound_client.errors import ExplanationFailedError
from expound_client.requests import MethodLike
from tests import photos
from tests.faults.conftest import Fleet
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.watcher import Watcher
from tests.processes import wait_until
from tests.service import Worker

MODELS = Path(__file__).parent / "models"
PHOTO = photos.chelsea()
LONG = m.Lime(n_samples=60_000)
NOISY = m.IntegratedGradients(n_steps=50, noise_tunnel=m.NoiseTunnel(n_samples=200))
BOTH: list[MethodLike] = ["saliency", m.Lime(n_samples=1000)]


@contextmanager
def _stopped(fleet: Fleet, worker: Worker) -> Iterator[None]:
    """Stops a worker within the context, and lets it count as dead there."""
    count = _alive(fleet)
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: _alive(fleet) < count, "the card running out")
        yield
    finally:
        os.killpg(worker.pid, signal.SIGCONT)
        wait_until(lambda: _alive(fleet) == count, "the worker being known again")


def _alive(fleet: Fleet) -> int:
    with fleet.store() as store:
        seconds, microseconds = store.time()
        now_ms = seconds * 1000 + microseconds // 1000
        return int(store.zcount(f"{records.PREFIX}workers", now_ms, "+inf"))


@pytest.fixture(scope="module")
def versions() -> Iterator[Fleet]:
    """Workers of version 1 and version 2."""
    with ExitStack() as running:
        fleet = Fleet(running)
        for version in (1, 2):
            fleet.add_worker(MODELS / f"version{version}.toml")
        yield fleet


@pytest.fixture
def client(versions: Fleet) -> Iterator[Client]:
    with Client(versions.server.address) as connected:
        yield connected


def _check_whole(result: ExplanationResult, alone: dict[str, ExplanationResult]) -> None:
    """Checks that all of a result is of the version that it names."""
    reference = alone[result.provenance.model_version]
    assert result.state is State.SUCCEEDED
    assert result.provenance.model_digest == reference.provenance.model_digest
    np.testing.assert_allclose(_logits(result), _logits(reference), rtol=1e-4)
    for key in result:
        values, expected = result[key].values, reference[key].values
        assert result[key].target.index == reference[key].target.index
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4 * np.abs(values).max())


def _logits(result: ExplanationResult) -> list[float]:
    return [score.logit for score in result.predictions[0].classes]


def _alone(fleet: Fleet, client: Client, methods: list[MethodLike]) -> dict[str, ExplanationResult]:
    """What each version says by itself."""
    found = {}
    for version, other in (("1", 1), ("2", 0)):
        with _stopped(fleet, fleet.workers[other]):
            explanation = client.explain(PHOTO, model="cifar", methods=methods, seed=5)
            found[version] = explanation.result(120)
            assert found[version].provenance.model_version == version
    return found


def test_while_two_versions_are_served_each_explanation_is_of_one(
    versions: Fleet, client: Client
) -> None:
    """All succeed: jobs wait for a worker of the version that has predicted."""
    alone = _alone(versions, client, BOTH)
    explanations = [client.explain(PHOTO, model="cifar", methods=BOTH, seed=5) for _ in range(12)]
    watchers = [Watcher(explanation) for explanation in explanations]
    results = [explanation.result(200) for explanation in explanations]
    for result, watcher in zip(results, watchers, strict=True):
        _check_whole(result, alone)
        watcher.join(20)
        check_events(watcher.events)
    with versions.store() as store:
        check_nothing_left(store)


def test_jobs_of_a_version_that_goes_are_begun_anew_by_the_next(
    versions: Fleet, client: Client
) -> None:
    """Nothing of the old version's checkpoints is used; what it has told already stands alone."""
    first, second = versions.workers
    with _stopped(versions, second):
        jobs = [client.explain(PHOTO, model="cifar", methods=[LONG], seed=5) for _ in range(2)]
        told = client.explain(PHOTO, model="cifar", methods=["saliency", LONG], seed=5)
        watchers = [Watcher(explanation) for explanation in (*jobs, told)]
        ids = [each.name.removeprefix("explanations/") for each in (*jobs, told)]
        with versions.store() as store:
            keys = [
                records.checkpoint_key(explanation_id, unit)
                for explanation_id, unit in zip(ids, "001", strict=True)
            ]
            wait_until(lambda: store.exists(*keys) == len(keys), "the first checkpoints")
    first.signal(signal.SIGTERM)
    versions.workers.remove(first)
    results = [job.result(240) for job in jobs]
    with pytest.raises(ExplanationFailedError) as raised:
        told.result(60)
    assert raised.value.reason is Reason.MODEL_NOT_FOUND
    assert raised.value.result.provenance.model_version == "1"
    assert raised.value.result["saliency"].values.any()
    for watcher in watchers:
        watcher.join(20)
        check_events(watcher.events)
    again = client.explain(PHOTO, model="cifar", methods=[LONG], seed=5).result(240)
    for result in results:
        assert result.provenance.model_version == "2"
        _check_whole(result, {"2": again})
    with versions.store() as store:
        check_nothing_left(store)


def test_gradients_of_a_version_that_goes_are_begun_anew_by_the_next(
    versions: Fleet, client: Client
) -> None:
    """The second attempt at `explain` is of another version: it predicts and explains anew."""
    *before, second = versions.workers
    first = before[0] if before else versions.add_worker(MODELS / "version1.toml")
    key = "integrated_gradients_smoothgrad"
    with _stopped(versions, second):
        explanation = client.explain(PHOTO, model="cifar", methods=[NOISY], seed=5)
        watcher = Watcher(explanation)
        wait_until(lambda: watcher.attempts(key) != [], "its first attempt")
        versions.workers.remove(first)
        first.kill()
    result = explanation.result(200)
    watcher.join(20)
    check_events(watcher.events)
    attempts = [attempt for _, attempt in watcher.attempts(key)]
    assert (attempts[0], attempts[-1]) == (1, 2)
    assert [type(event) for event in watcher.events].count(PredictionsReady) >= 2
    assert result.provenance.model_version == "2"
    again = client.explain(PHOTO, model="cifar", methods=[NOISY], seed=5, fresh=True)
    _check_whole(result, {"2": again.result(200)})
    with versions.store() as store:
        check_nothing_left(store)
