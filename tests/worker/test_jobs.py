"""Jobs side by side: how many, which of them alone, and what a stop leaves."""

import queue
import threading

import pytest

from expound_worker.jobs import Jobs

DEADLINE_S = 20


class Work:
    """Jobs that begin, and end when they are told to."""

    def __init__(self, limit: int) -> None:
        self.begun: queue.Queue[str] = queue.Queue()
        self.offers: queue.Queue[tuple[str, int]] = queue.Queue()
        self.ends = {name: threading.Event() for name in "abcd"}
        self.jobs = Jobs(limit, self._run, self._listen)

    def _run(self, name: str, method_index: int) -> None:
        if method_index == 1:
            raise ArithmeticError
        if method_index == 2:
            with self.jobs.alone():
                self._begin(name)
        else:
            self._begin(name)

    def _begin(self, name: str) -> None:
        self.begun.put(name)
        assert self.ends[name].wait(DEADLINE_S)

    def _listen(self) -> tuple[str, int] | None:
        try:
            return self.offers.get(timeout=0.01)
        except queue.Empty:
            return None

    def next_begun(self) -> str:
        """The job that begins next."""
        return self.begun.get(timeout=DEADLINE_S)

    def end(self) -> None:
        """Lets all end, and stops."""
        for event in self.ends.values():
            event.set()
        self.jobs.stop()


def test_a_job_that_finds_no_room_is_left_to_others() -> None:
    work = Work(limit=2)
    for name in "abc":
        work.jobs.offer(name, 0)
    assert {work.next_begun(), work.next_begun()} == {"a", "b"}
    work.end()
    assert work.begun.empty()


def test_it_listens_for_more_as_soon_as_there_is_room() -> None:
    work = Work(limit=1)
    work.jobs.start(listening=True)
    work.offers.put(("a", 0))
    work.offers.put(("b", 0))
    assert work.next_begun() == "a"
    assert not work.offers.empty()
    work.ends["a"].set()
    assert work.next_begun() == "b"
    work.end()


def test_a_job_that_raises_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(limit=1)
    work.jobs.start(listening=True)
    work.offers.put(("a", 1))
    work.offers.put(("b", 0))
    assert work.next_begun() == "b"
    assert "ArithmeticError" in caplog.text
    work.end()


def test_a_job_alone_waits_for_the_others_and_lets_none_begin() -> None:
    work = Work(limit=3)
    work.jobs.offer("a", 0)
    assert work.next_begun() == "a"
    work.jobs.start(listening=True)
    work.offers.put(("b", 2))
    work.offers.put(("c", 2))
    work.ends["a"].set()
    first = work.next_begun()
    work.offers.put(("d", 0))
    with pytest.raises(queue.Empty):
        work.begun.get(timeout=0.1)
    work.ends[first].set()
    second = work.next_begun()
    assert {first, second} <= {"b", "c", "d"}
    work.end()


def test_none_begins_while_one_waits_to_be_alone() -> None:
    work = Work(limit=3)
    work.jobs.offer("a", 0)
    assert work.next_begun() == "a"
    work.jobs.offer("b", 2)
    with work.jobs._changed:
        assert work.jobs._changed.wait_for(lambda: work.jobs._wanting == 1, DEADLINE_S)
    work.jobs.offer("c", 0)
    work.ends["a"].set()
    assert work.next_begun() == "b"
    work.end()
    assert work.begun.empty()


def test_what_is_heard_of_as_the_last_room_is_taken_waits_for_it() -> None:
    work = Work(limit=1)

    def listen() -> tuple[str, int] | None:
        work.jobs.offer("a", 0)
        return work._listen()

    work.jobs = Jobs(1, work._run, listen)
    work.offers.put(("b", 0))
    work.jobs.start(listening=True)
    assert work.next_begun() == "a"
    work.ends["a"].set()
    assert work.next_begun() == "b"
    work.end()


def test_when_there_is_to_be_no_job_those_that_run_are_waited_for() -> None:
    work = Work(limit=3)
    work.jobs.start(listening=True)
    work.jobs.offer("a", 0)
    assert work.next_begun() == "a"
    closed, open_again = threading.Event(), threading.Event()

    def close() -> None:
        with work.jobs.none():
            closed.set()
            assert open_again.wait(DEADLINE_S)

    closing = threading.Thread(target=close)
    closing.start()
    assert not closed.wait(0.1)
    work.ends["a"].set()
    assert closed.wait(DEADLINE_S)
    work.offers.put(("b", 0))
    with pytest.raises(queue.Empty):
        work.begun.get(timeout=0.1)
    open_again.set()
    assert work.next_begun() == "b"
    closing.join(DEADLINE_S)
    work.end()


def test_a_stop_takes_no_more_and_waits_for_what_runs() -> None:
    work = Work(limit=1)
    work.jobs.offer("a", 0)
    assert work.next_begun() == "a"
    stopping = threading.Thread(target=work.jobs.stop)
    stopping.start()
    assert work.jobs.stopping.wait(DEADLINE_S)
    work.jobs.offer("b", 0)
    assert stopping.is_alive()
    work.ends["a"].set()
    stopping.join(DEADLINE_S)
    assert not stopping.is_alive()
    assert work.begun.empty()


def test_a_stop_lets_those_that_wait_to_be_alone_run_one_by_one() -> None:
    work = Work(limit=3)
    work.jobs.offer("a", 0)
    assert work.next_begun() == "a"
    with work.jobs._changed:  # neither waits before both have begun, for then there is no room
        for name in "bc":
            work.jobs.offer(name, 2)
        assert work.jobs._changed.wait_for(lambda: work.jobs._wanting == 2, DEADLINE_S)
    stopping = threading.Thread(target=work.jobs.stop)
    stopping.start()
    assert work.jobs.stopping.wait(DEADLINE_S)
    running = "a"
    for _ in "bc":
        with pytest.raises(queue.Empty):
            work.begun.get(timeout=0.1)
        work.ends[running].set()
        running = work.next_begun()
    work.ends[running].set()
    stopping.join(DEADLINE_S)
    assert not stopping.is_alive()


def test_a_job_whose_thread_cannot_start_keeps_no_room_and_ends_no_listener(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(limit=1)
    work.jobs.start(listening=True)
    start, failures = threading.Thread.start, ["a", "b"]

    def fail_at_first(thread: threading.Thread) -> None:
        # As Python does where the system gives it no thread more.
        if failures and thread.name.startswith("job "):
            failures.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_at_first)
    work.offers.put(("a", 0))
    work.offers.put(("b", 0))
    work.offers.put(("c", 0))
    assert work.next_begun() == "c"
    assert caplog.text.count("a job cannot be started") == 2
    work.end()
