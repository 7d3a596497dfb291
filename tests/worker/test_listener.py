"""How a worker takes gradient work, without Redis: explanations are little more than names here."""

import threading
from collections.abc import Iterator, Sequence
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
        self.changed = threading.Condition()

    def add(self, name: str) -> None:
        with self.changed:
            self.names.append(name)
            self.changed.notify_all()

    def listen(self) -> list[Any]:
        with self.changed:
            self.changed.wait_for(lambda: bool(self.names or self.failures), 0.05)
            if self.failures:
                raise self.failures.pop()
            return [_work(self.names.pop(0))] if self.names else []

    def take(self, name: str) -> list[Any]:
        with self.changed:
            if self.ticket_failures:
                raise self.ticket_failures.pop()
            if name not in self.silent:
                return []
            self.silent.remove(name)
            return [_work(name)]

    def run(self, works: Sequence[Any]) -> None:
        names = [work.unit.explanation_id for work in works]
        with self.changed:
            self.ran += names
            self.changed.notify_all()
        if "bad" in names:
            raise ValueError("bad")

    def wait_until_ran(self, *names: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.ran == [*names], DEADLINE_S)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def listener(waiting: Waiting) -> Iterator[Listener]:
    listener = _listener(waiting)
    listener.start()
    yield listener
    listener.stop()


@pytest.mark.usefixtures("listener")
def test_what_waits_is_heard_of_and_run(waiting: Waiting) -> None:
    for name in ("a", "b"):
        waiting.add(name)
    waiting.wait_until_ran("a", "b")


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("failure", [redis.ConnectionError("away"), redis.TimeoutError("slow")])
def test_it_listens_again_when_redis_has_been_away(waiting: Waiting, failure: Exception) -> None:
    waiting.failures.append(failure)
    waiting.add("a")
    waiting.wait_until_ran("a")


@pytest.mark.usefixtures("listener")
def test_what_fails_does_not_keep_it_from_the_next(waiting: Waiting) -> None:
    waiting.add("bad")
    waiting.add("b")
    waiting.wait_until_ran("bad", "b")


def test_a_ticket_has_taken_what_nobody_heard_of(listener: Listener, waiting: Waiting) -> None:
    waiting.silent.append("a")
    listener.look("a")
    assert waiting.ran == ["a"]


def test_a_ticket_fails_when_redis_is_away_and_the_next_does_not(
    listener: Listener, waiting: Waiting
) -> None:
    waiting.silent.append("a")
    waiting.ticket_failures.append(redis.ConnectionError("away"))
    with pytest.raises(redis.ConnectionError):
        listener.look("a")
    listener.look("a")
    assert waiting.ran == ["a"]


def test_a_worker_that_does_not_listen_takes_nothing(waiting: Waiting) -> None:
    waiting.silent.append("a")
    _listener(waiting).look("a")
    assert waiting.ran == []


def _work(name: str) -> SimpleNamespace:
    return SimpleNamespace(unit=SimpleNamespace(explanation_id=name))


def _listener(waiting: Waiting) -> Listener:
    return Listener(waiting.take, waiting.listen, waiting.run)
