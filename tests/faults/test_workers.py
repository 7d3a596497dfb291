"""Real workers: hostile and repeated tickets, inputs and batches that fail, and bad connections."""

import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import redis
from celery import Celery

from expound import records, tasks
from expound.reasons import Reason
from expound_client import Client, Explanation, State
from expound_client import methods as m
from expound_client.errors import (
    ExplanationCancelledError,
    ExplanationFailedError,
    UnavailableError,
)
from tests import photos
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.proxy import Proxy
from tests.faults.watcher import Watcher
from tests.processes import RedisServer, children, wait_until
from tests.service import Server, Worker

MODELS = Path(__file__).parent / "models" / "limits.toml"
PHOTO = photos.chelsea()
WHITE = np.full((32, 32, 3), 255, np.uint8)
LIME = m.Lime(n_samples=1500)
FINISH = hashlib.sha1(records.script("finish").encode()).hexdigest().encode()
TWICE = [("RUNNING", 1), ("PENDING", 1), ("RUNNING", 2), ("SUCCEEDED", 2)]


class Site:
    """A Redis that keeps what it is told, a server, and a worker behind a proxy."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self._running = running
        self.redis = RedisServer(folder)
        running.enter_context(self.redis)
        self.server = Server(self.redis.url)
        running.enter_context(self.server)
        self.proxy = running.enter_context(Proxy(self.redis.port))
        self.worker = self._add(f"redis://127.0.0.1:{self.proxy.port}/0")
        self._second: Worker | None = None

    @property
    def second(self) -> Worker:
        """Another worker, with a connection of its own, from the first use on."""
        if self._second is None:
            self._second = self._add(self.redis.url)
        return self._second

    @contextmanager
    def store(self) -> Iterator[redis.Redis]:
        """A client of its Redis."""
        with redis.Redis.from_url(self.redis.url) as client:
            yield client

    def _add(self, redis_url: str) -> Worker:
        before = self._known()
        worker = Worker(redis_url, MODELS)
        self._running.enter_context(worker)

        def known() -> bool:
            worker.check_alive()
            return self._known() > before

        wait_until(known, "the worker being known", 120)
        wait_until(self.server.serving, "the service being ready", 30)
        return worker

    def _known(self) -> int:
        with self.store() as client:
            return client.zcard(f"{records.PREFIX}workers")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as running:
        yield Site(tmp_path_factory.mktemp("redis"), running)


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    with Client(site.server.address) as connected:
        yield connected


@contextmanager
def _stopped(worker: Worker) -> Iterator[None]:
    """Stops a worker with all of its processes within the context."""
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(worker.pid, signal.SIGCONT)


def _send(site: Site, task: str, *arguments: str, serializer: str = "json", **more: str) -> None:
    with Celery("anybody", broker=site.redis.url, set_as_current=False) as app:
        app.conf.update(tasks.CELERY_SETTINGS)
        app.send_task(task, arguments, more, queue=tasks.GRADIENT, serializer=serializer)


def _check_sound(site: Site, client: Client, worker: Worker, processes: list[int]) -> None:
    """Checks that the next explanation succeeds, by the same processes."""
    result = client.explain(PHOTO, model="cifar", methods=["saliency"]).result(60)
    assert result.state is State.SUCCEEDED
    assert children(worker.pid) == processes
    with site.store() as store:
        wait_until(lambda: store.llen(tasks.queue_key(tasks.GRADIENT)) == 0, "no ticket left")
        check_nothing_left(store)


def test_tickets_of_strangers_are_refused_and_the_worker_lives(
    site: Site, client: Client, tmp_path: Path
) -> None:
    """Case 37: pickles, unknown tasks, arguments too many: nothing of it is run."""
    processes = children(site.worker.pid)
    made = tmp_path / "made"
    _send(site, tasks.EXPLAIN, "0" * 32, serializer="pickle")
    _send(site, "os.system", f"touch {made}")
    _send(site, tasks.EXPLAIN, "0" * 32, "too many", even="more")
    _send(site, tasks.PERTURB, "0" * 32, "no number")
    _check_sound(site, client, site.worker, processes)
    assert not made.exists()


def test_a_ticket_that_comes_five_times_is_worked_on_once(site: Site, client: Client) -> None:
    """Case 13: one run; the other tickets find nothing to do."""
    with _stopped(site.worker):
        explanation = client.explain(PHOTO, model="cifar", methods=["saliency", "lime"])
        watcher = Watcher(explanation)
        for _ in range(5):
            _send(site, tasks.EXPLAIN, explanation.name.removeprefix("explanations/"))
    assert explanation.result(60).state is State.SUCCEEDED
    watcher.join(20)
    check_events(watcher.events)
    for key in ("saliency", "lime"):
        assert watcher.attempts(key) == [("RUNNING", 1), ("SUCCEEDED", 1)]
    _check_sound(site, client, site.worker, children(site.worker.pid))


@pytest.mark.parametrize(
    ("model", "reason"), [("brittle", Reason.MODEL_ERROR), ("cramped", Reason.OUT_OF_MEMORY)]
)
def test_of_a_batch_that_fails_what_is_sound_succeeds_at_its_first_attempt(
    site: Site, client: Client, model: str, reason: Reason
) -> None:
    """Cases 28 and 29: halves of the batch are run; what fails alone fails, with its reason."""
    processes = children(site.worker.pid)
    images = [WHITE if number == 3 else PHOTO for number in range(8)]
    with _stopped(site.worker):
        explanations = [
            client.explain(image, model=model, methods=["saliency"]) for image in images
        ]
    watchers = [Watcher(explanation) for explanation in explanations]
    for number, explanation in enumerate(explanations):
        if number == 3:
            with pytest.raises(ExplanationFailedError) as raised:
                explanation.result(60)
            assert raised.value.reason is reason
        else:
            assert explanation.result(60).state is State.SUCCEEDED
    for number, watcher in enumerate(watchers):
        watcher.join(20)
        check_events(watcher.events)
        if number != 3:
            assert watcher.attempts("saliency") == [("RUNNING", 1), ("SUCCEEDED", 1)]
    _check_sound(site, client, site.worker, processes)


def _running(client: Client, site: Site) -> tuple[Explanation, Watcher, str]:
    """A LIME job with a first checkpoint, its watcher, and its worker."""
    explanation = client.explain(PHOTO, model="slow", methods=[LIME], seed=5)
    watcher = Watcher(explanation)
    explanation_id = explanation.name.removeprefix("explanations/")
    with site.store() as store:
        checkpoint = records.checkpoint_key(explanation_id, "0")
        wait_until(lambda: store.exists(checkpoint) == 1, "the first checkpoint")
        holder = str(store.hget(records.record_key(explanation_id), "0:worker"))
    return explanation, watcher, holder


def test_a_job_that_is_cancelled_leaves_the_device_at_once(site: Site, client: Client) -> None:
    """Case 32, running: CANCELLED, nothing of it goes on, and the worker is free."""
    processes = children(site.worker.pid)
    explanation, watcher, _ = _running(client, site)
    explanation.cancel()
    with pytest.raises(ExplanationCancelledError):
        explanation.result(20)
    watcher.join(20)
    check_events(watcher.events)
    assert watcher.attempts("lime") == [("RUNNING", 1), ("CANCELLED", 1)]
    _check_sound(site, client, site.worker, processes)


def test_a_slow_redis_makes_work_slow_and_nothing_else(site: Site, client: Client) -> None:
    """Case 9: 200 ms on every reply to the worker; all succeeds at the first attempt."""
    site.proxy.reply_delay_s = 0.2
    try:
        explanation = client.explain(PHOTO, model="cifar", methods=["saliency", "lime"])
        watcher = Watcher(explanation)
        assert explanation.result(60).state is State.SUCCEEDED
    finally:
        site.proxy.reply_delay_s = 0.0
    watcher.join(20)
    check_events(watcher.events)
    for key in ("saliency", "lime"):
        assert watcher.attempts(key) == [("RUNNING", 1), ("SUCCEEDED", 1)]
    _check_sound(site, client, site.worker, children(site.worker.pid))


def test_an_end_whose_acknowledgement_is_lost_is_the_end(site: Site, client: Client) -> None:
    """Case 12: it is told again and changes nothing: one terminal event, at the first attempt."""
    processes = children(site.worker.pid)
    site.proxy.lose_reply_to(FINISH)
    lost = site.proxy.lost
    explanation = client.explain(PHOTO, model="cifar", methods=["lime"])
    watcher = Watcher(explanation)
    assert explanation.result(60).state is State.SUCCEEDED
    assert site.proxy.lost == lost + 1
    watcher.join(20)
    check_events(watcher.events)
    assert watcher.attempts("lime") == [("RUNNING", 1), ("SUCCEEDED", 1)]
    _check_sound(site, client, site.worker, processes)


def test_ends_that_are_lost_on_their_way_are_told_again(site: Site, client: Client) -> None:
    """Of a job and of gradient work: one terminal event, and nothing is done anew."""
    job, watcher, _ = _running(client, site)
    site.proxy.lose_request(FINISH)
    lost = site.proxy.lost
    assert job.result(60).state is State.SUCCEEDED
    assert site.proxy.lost == lost + 1
    watcher.join(20)
    check_events(watcher.events)
    assert watcher.attempts("lime") == [("RUNNING", 1), ("SUCCEEDED", 1)]
    site.proxy.lose_request(FINISH)
    explanation = client.explain(PHOTO, model="cifar", methods=["saliency"])
    assert explanation.result(60).state is State.SUCCEEDED
    assert site.proxy.lost == lost + 2
    with site.store() as store:
        key = records.record_key(explanation.name.removeprefix("explanations/"))
        assert store.hget(key, "explain:attempt") == b"1"


def test_a_redis_that_is_started_anew_in_mid_job_costs_no_attempt(
    site: Site, client: Client
) -> None:
    """A short form of case 5: what could not be told meanwhile is no fault of the job."""
    processes = children(site.worker.pid)
    job, watcher, _ = _running(client, site)
    site.redis.kill()
    threading.Event().wait(1)
    site.redis.start()
    assert job.result(60).state is State.SUCCEEDED
    watcher.join(20)
    check_events(watcher.events)
    assert watcher.attempts("lime") == [("RUNNING", 1), ("SUCCEEDED", 1)]
    _check_sound(site, client, site.worker, processes)


@pytest.mark.long
def test_a_job_outlives_a_redis_that_is_killed_and_comes_back(site: Site, client: Client) -> None:
    """Case 5: UNAVAILABLE meanwhile; SUCCEEDED; no gap, no repeat; the worker goes on.

    The attempt may be the first or the second, as the lease outlives the outage or not.
    """
    processes = children(site.worker.pid)
    explanation, watcher, _ = _running(client, site)
    site.redis.kill()
    with Client(site.server.address, timeout_s=3) as impatient, pytest.raises(UnavailableError):
        impatient.explain(PHOTO, model="cifar", methods=["saliency"])
    threading.Event().wait(5)
    site.redis.start()
    result = explanation.result(120)
    watcher.join(60)
    check_events(watcher.events)
    attempts = watcher.attempts("lime")
    assert attempts in ([("RUNNING", 1), ("SUCCEEDED", 1)], TWICE)
    _check_same(client, result["lime"].values)
    _check_sound(site, client, site.worker, processes)


@pytest.mark.long
def test_a_job_that_ends_while_redis_is_away_succeeds_when_it_is_back(
    site: Site, client: Client
) -> None:
    """Case 7: SUCCEEDED at the first attempt: its end is told again until Redis hears it."""
    processes = children(site.worker.pid)
    explanation, watcher, _ = _running(client, site)
    lost = site.proxy.lost
    site.proxy.lose_request(FINISH)
    wait_until(lambda: site.proxy.lost > lost, "the end of the job")
    site.redis.kill()
    threading.Event().wait(4)
    site.redis.start()
    assert explanation.result(120).state is State.SUCCEEDED
    watcher.join(60)
    check_events(watcher.events)
    assert watcher.attempts("lime") == [("RUNNING", 1), ("SUCCEEDED", 1)]
    _check_sound(site, client, site.worker, processes)


def _check_same(client: Client, values: np.ndarray) -> None:
    """Checks that a job that nobody disturbs gives the same, but for the order of sums.

    Each worker measures for itself which batches are fastest.
    """
    again = client.explain(PHOTO, model="slow", methods=[LIME], seed=5).result(120)
    np.testing.assert_allclose(
        values, again["lime"].values, rtol=0, atol=1e-4 * np.abs(values).max()
    )


def _begin_on_the_first(client: Client, site: Site) -> tuple[Explanation, Watcher]:
    """A job of the first worker while there are two."""
    with _stopped(site.second):
        explanation, watcher, holder = _running(client, site)
    assert f":{site.worker.pid}'" in holder
    return explanation, watcher


@pytest.mark.long
def test_a_worker_that_is_frozen_beyond_its_lease_cannot_spoil_what_another_has_done(
    site: Site, client: Client
) -> None:
    """Case 4: attempt 2 wins; what attempt 1 has to say when it thaws changes nothing."""
    explanation, watcher = _begin_on_the_first(client, site)
    with _stopped(site.worker):
        result = explanation.result(120)
        watcher.join(20)
        check_events(watcher.events)
        assert watcher.attempts("lime") == TWICE
        told = len(watcher.events)
    with _stopped(site.second):
        _check_same(client, result["lime"].values)
    after = Watcher(client.get(explanation.name))
    after.join(20)
    assert len(after.events) == told
    with site.store() as store:
        check_nothing_left(store)


@pytest.mark.long
def test_the_job_of_a_worker_that_redis_no_longer_hears_of_is_done_by_another(
    site: Site, client: Client
) -> None:
    """Case 16: attempt 2 elsewhere; the one that was cut off drops what it has, and comes back."""
    explanation, watcher = _begin_on_the_first(client, site)
    site.proxy.swallowing = True
    try:
        result = explanation.result(120)
        watcher.join(20)
        check_events(watcher.events)
        assert watcher.attempts("lime") == TWICE
    finally:
        site.proxy.swallowing = False
        site.proxy.cut()
    _check_same(client, result["lime"].values)
    with _stopped(site.second):
        again = client.explain(PHOTO, model="cifar", methods=["saliency", "lime"])
        assert again.result(120).state is State.SUCCEEDED
    with site.store() as store:
        check_nothing_left(store)
