"""How a worker takes gradient work, without Redis: explanations are little more than names here."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from expound_worker.listener import Listener

DEADLINE_S = 30.0


class Waiting:
    """Explanations that wait, as Redis would hold them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.silent: list[str] = []  # those that nobody hears of
        self.ran: list[str] = []
        self.failures: list[Exception] = []  # of the next times that it is listened
        self.ticket_failures: list[Exception] = []
        self.running: dict[str, Future[None]] = {}  # those that end only when they are told to
        self.changed = threading.Condition()
        self.listened = threading.Event()

    def add(self, name: str) -> None:
        with self.changed:
            self.names.append(name)
            self.changed.notify_all()

    def listen(self) -> list[Any]:
        self.listened.set()
        with self.changed:
            self.changed.wait_for(lambda: bool(self.names or self.failures), 0.05)
            if self.failures:
                raise self.failures.pop()
            return [_work(self.names.pop(0))] if self.names else []

    def take(self, name: str) -> list[Any]:
        with self.changed:
            if self.ticket_failures:
                raise self.ticket_failures.pop()
            if name in self.silent:
                self.silent.remove(name)
                return [_work(name)]
            return [_work(self.names.pop(0))] if self.names else []

    def run(self, works: Sequence[Any]) -> Future[None] | None:
        names = [work.unit.explanation_id for work in works]
        with self.changed:
            self.ran += names
            self.changed.notify_all()
        if "bad" in names:
            raise ValueError("bad")
        return self.running.get(names[0])

    def wait_until_ran(self, *names: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.ran == [*names], DEADLINE_S)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def listener(waiting: Waiting) -> Iterator[Listener]:
    stopping = threading.Event()
    listener = Listener(waiting.take, waiting.listen, waiting.run, stopping)
    yield listener
    stopping.set()
    listener.join()


def test_what_waits_is_heard_of_and_run(listener: Listener, waiting: Waiting) -> None:
    listener.start()
    for name in ("a", "b"):
        waiting.add(name)
    waiting.wait_until_ran("a", "b")


@pytest.mark.parametrize("failure", [redis.ConnectionError("away"), redis.TimeoutError("slow")])
def test_it_listens_again_when_redis_has_been_away(
    listener: Listener, waiting: Waiting, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    listener.start()
    waiting.failures.append(failure)
    waiting.add("a")
    waiting.wait_until_ran("a")
    assert f"Redis is away: {failure}" in caplog.text


def test_what_fails_does_not_keep_it_from_the_next(listener: Listener, waiting: Waiting) -> None:
    listener.start()
    waiting.add("bad")
    waiting.add("b")
    waiting.wait_until_ran("bad", "b")


def test_while_a_batch_runs_one_more_is_begun_if_it_waits(
    listener: Listener, waiting: Waiting
) -> None:
    waiting.running = {name: Future() for name in "abc"}
    with waiting.changed:
        waiting.names += ["a", "b", "c"]
    listener.start()
    waiting.wait_until_ran("a", "b")
    waiting.running["a"].set_result(None)
    waiting.wait_until_ran("a", "b", "c")
    for name in "bc":
        waiting.running[name].set_result(None)
    waiting.listened.clear()
    assert waiting.listened.wait(DEADLINE_S)
    waiting.add("d")
    waiting.wait_until_ran("a", "b", "c", "d")


def test_what_nobody_heard_of_is_taken_by_a_ticket(listener: Listener, waiting: Waiting) -> None:
    waiting.silent.append("a")
    listener.start()
    listener.look("a")
    waiting.wait_until_ran("a")


def test_a_ticket_that_meets_an_outage_keeps_it_from_nothing(
    listener: Listener, waiting: Waiting
) -> None:
    waiting.ticket_failures.append(redis.ConnectionError("away"))
    waiting.silent.append("a")
    listener.start()
    for _ in range(2):
        listener.look("a")
    waiting.wait_until_ran("a")


def test_a_stop_waits_for_the_batch_that_runs_and_tells_of_its_failure(
    waiting: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    stopping = threading.Event()
    listener = Listener(waiting.take, waiting.listen, waiting.run, stopping)
    waiting.running = {name: Future() for name in "ab"}
    waiting.names += ["a", "b"]
    listener.start()
    waiting.wait_until_ran("a", "b")
    stopping.set()
    waiting.running["a"].set_result(None)
    waiting.running["b"].set_exception(ValueError("b broke"))
    listener.join()
    assert "b broke" in caplog.text


def _work(name: str) -> SimpleNamespace:
    return SimpleNamespace(unit=SimpleNamespace(explanation_id=name))
