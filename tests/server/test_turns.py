"""Turns: what one tenant asks for does not keep another waiting."""

from expound import records, tasks
from tests.server.hand_worker import HandWorker


def _take(worker: HandWorker, count: int) -> list[str]:
    """Ids in the order in which a worker takes them, one by one."""
    taken = []
    for _ in range(count):
        [(explanation_id, *_)] = worker.run(
            "claim_ready", tasks.DEFAULT_POOL, "hand", "", "models/tiny", 1
        )
        taken.append(explanation_id.decode())
    return taken


def _flood(worker: HandWorker, tenant: str, count: int) -> list[str]:
    ids = [f"{tenant}{number:03}" for number in range(count)]
    for each in ids:
        worker.create(each, tenant=tenant, digest=each)
    return ids


def test_the_first_of_a_tenant_does_not_wait_behind_anothers_thousand(worker: HandWorker) -> None:
    flood = _flood(worker, "a", 1000)
    assert _take(worker, 500) == flood[:500]
    _flood(worker, "b", 3)
    taken = _take(worker, 6)
    assert [each[0] for each in taken].count("b") == 3
    assert taken[0][0] == "b" or taken[1][0] == "b"


def test_those_of_one_tenant_are_taken_in_their_order(worker: HandWorker) -> None:
    first = _flood(worker, "a", 20)
    assert _take(worker, 20) == first


def test_a_tenant_that_asked_for_much_long_ago_owes_nothing(worker: HandWorker) -> None:
    _flood(worker, "a", 50)
    _take(worker, 50)
    _flood(worker, "b", 50)
    _take(worker, 50)
    worker.create("a-again", tenant="a", digest="a")
    _flood(worker, "c", 50)
    assert "a-again" in _take(worker, 3)


def test_a_tenant_that_asked_for_nothing_has_saved_nothing(worker: HandWorker) -> None:
    worker.create("a-before", tenant="a")
    _flood(worker, "b", 50)
    _take(worker, 40)
    _flood(worker, "a", 50)
    assert [each[0] for each in _take(worker, 10)].count("a") <= 6


def test_a_turn_is_as_long_as_there_are_inputs(worker: HandWorker) -> None:
    for number in range(3):
        worker.create(f"a{number}", tenant="a", digest=f"a{number}", inputs=(b"image",) * 8)
    _flood(worker, "b", 9)
    assert [each[0] for each in _take(worker, 10)].count("b") == 8


def test_what_is_taken_before_its_turn_turns_no_clock_back(worker: HandWorker) -> None:
    first, *_, last = _flood(worker, "a", 5)
    for name in (last, first):
        worker.run("claim_ready", tasks.DEFAULT_POOL, "hand", name, "models/tiny", 1)
    _flood(worker, "b", 1)
    turns = [worker.record(name)[b"explain:turn"] for name in (last, "b000")]
    assert turns == [b"8", b"8"]


def test_a_clock_lasts_while_work_comes(worker: HandWorker) -> None:
    _take(worker, len(_flood(worker, "a", 2)))
    clock = f"{records.PREFIX}turn:{records.PREFIX}ready:{tasks.DEFAULT_POOL}"
    assert worker.redis.pexpire(clock, 60_000)
    _flood(worker, "b", 1)
    assert worker.redis.pttl(clock) > 3_000_000


def _offer(worker: HandWorker, tenant: str, count: int) -> None:
    """Offers a job of each of so many explanations."""
    for explanation_id in _flood(worker, tenant, count):
        attempt = worker.claim(explanation_id)
        assert attempt
        worker.run("offer", explanation_id, attempt, "0")


def _first_jobs(worker: HandWorker, count: int) -> list[str]:
    """Ids of the jobs that are to be taken next."""
    jobs = records.jobs_key(tasks.DEFAULT_POOL)
    waiting: list[bytes] = worker.redis.zrange(jobs, 0, count - 1)  # type: ignore[assignment]  # sync client
    return [each.decode().split()[0] for each in waiting]


def test_jobs_take_turns_too(worker: HandWorker) -> None:
    _offer(worker, "a", 20)
    _offer(worker, "b", 2)
    assert [each[0] for each in _first_jobs(worker, 4)].count("b") == 2
    for explanation_id in _first_jobs(worker, 12):
        assert worker.claim(explanation_id, 0)
    _offer(worker, "c", 10)
    assert [each[0] for each in _first_jobs(worker, 6)].count("c") <= 4


def test_what_was_given_back_keeps_its_turn(worker: HandWorker) -> None:
    flood = _flood(worker, "a", 5)
    attempt = worker.claim(flood[0])
    assert attempt
    worker.run("release", flood[0], "explain", attempt)
    worker.run("sweep", 3, 10, 10)
    assert _take(worker, 2) == flood[:2]


def test_a_tenants_name_moves_no_clock(worker: HandWorker) -> None:
    _flood(worker, "lasting", 3)
    worker.create("a", tenant="another", lasting=True)
    assert worker.record("a")[b"explain:turn"] == b"0"
