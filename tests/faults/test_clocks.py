"""Clocks that are wrong: every time that decides something is Redis' own."""

import datetime
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from expound.reasons import Reason
from expound_client import Client, State
from expound_client import methods as m
from expound_client.errors import ExplanationExpiredError, ExplanationFailedError
from expound_client.requests import MethodLike
from tests import photos
from tests.faults.conftest import MODELS
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.watcher import Watcher
from tests.processes import Process, RedisServer, wait_until
from tests.service import Server, Worker

CLOCK = Path(__file__).parent / "clock"
PHOTO = photos.chelsea()
SHIFT_S = 7200.0
SLACK_S = 5.0


def _shift(process: Process, shift_s: float) -> None:
    """Lets a process that is to be started believe that it is later, or earlier."""
    process.environment |= {"PYTHONPATH": str(CLOCK), "CLOCK_SHIFT_S": str(shift_s)}


class _Site:
    """Redis, a server and a worker, each with a time of day of its own."""

    def __init__(self, running: ExitStack, server_s: float, worker_s: float) -> None:
        self.redis = running.enter_context(RedisServer())
        self.server, self.worker = Server(self.redis.url), Worker(self.redis.url, MODELS)
        _shift(self.server, server_s)
        _shift(self.worker, worker_s)
        running.enter_context(self.server)
        running.enter_context(self.worker)
        wait_until(self._ready, "the service being ready", 180)
        self.client = running.enter_context(Client(self.server.address))

    def _ready(self) -> bool:
        self.worker.check_alive()
        return self.server.serving()


CLOCKS = {
    "both ahead": (SHIFT_S, SHIFT_S),
    "server ahead": (SHIFT_S, -SHIFT_S),
    "worker ahead": (-SHIFT_S, SHIFT_S),
    "both behind": (-SHIFT_S, -SHIFT_S),
}


@pytest.fixture(scope="module", params=list(CLOCKS.values()), ids=list(CLOCKS))
def site(request: pytest.FixtureRequest) -> Iterator[_Site]:
    """A server and a worker whose clocks are wrong by two hours, Redis' clock being right."""
    server_s, worker_s = request.param
    with ExitStack() as running:
        yield _Site(running, server_s, worker_s)


def test_a_process_with_a_wrong_clock_believes_it() -> None:
    asking = Process([sys.executable, "-c", "import time; print(time.time())"])
    _shift(asking, SHIFT_S)
    with asking:
        assert asking.process is not None
        assert asking.process.wait(30) == 0
        assert abs(float(asking.output()) - time.time() - SHIFT_S) < 60


@pytest.mark.long
def test_work_is_done_once_and_at_its_time_whatever_the_clocks_say(site: _Site) -> None:
    """Case 33: no early expiry and no second run, of a job that outlives its first lease."""
    now = datetime.datetime.now(datetime.UTC)
    methods: list[MethodLike] = ["saliency", m.Lime(n_samples=3000)]
    explanation = site.client.explain(PHOTO, model="slow", methods=methods, timeout_s=200)
    watcher = Watcher(explanation)
    result = explanation.result(200)
    assert result.state is State.SUCCEEDED
    assert result.create_time is not None
    assert abs((result.create_time - now).total_seconds()) < SLACK_S
    watcher.join(20)
    check_events(watcher.events)
    for key in ("saliency", "lime"):
        assert watcher.attempts(key) == [("RUNNING", 1), ("SUCCEEDED", 1)]
    with redis.Redis.from_url(site.redis.url) as store:
        check_nothing_left(store)


@pytest.mark.long
def test_deadlines_and_times_to_live_pass_when_they_are_to(site: _Site) -> None:
    """Case 33: neither earlier nor later than Redis' clock says, and no worker is asked."""
    os.killpg(site.worker.pid, signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        late = site.client.explain(PHOTO, model="slow", methods=["saliency"], timeout_s=3)
        forgotten = site.client.explain(PHOTO, model="slow", methods=["lime"], ttl_s=3)
        with pytest.raises(ExplanationFailedError) as raised:
            late.result(60)
        assert raised.value.reason is Reason.DEADLINE_EXCEEDED
        with pytest.raises(ExplanationExpiredError):
            forgotten.result(60)
        assert 3 <= time.monotonic() - began_s < 3 + SLACK_S
    finally:
        os.killpg(site.worker.pid, signal.SIGCONT)
