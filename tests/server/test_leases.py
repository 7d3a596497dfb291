"""Work that is nobody's: what the sweep finds, gives back, and ends."""

import pytest

from expound import records, tasks
from expound.v1 import explanation_pb2
from tests.server.hand_worker import HandWorker

PENDING, RUNNING, SUCCEEDED, FAILED = (
    str(int(state)).encode()
    for state in (
        explanation_pb2.STATE_PENDING,
        explanation_pb2.STATE_RUNNING,
        explanation_pb2.STATE_SUCCEEDED,
        explanation_pb2.STATE_FAILED,
    )
)
LEASES = f"{records.PREFIX}leases"
READY = f"{records.PREFIX}ready:default"
JOBS = records.jobs_key(tasks.DEFAULT_POOL)


def _run_out(worker: HandWorker, explanation_id: str, unit: str | int = "explain") -> None:
    """Lets time pass for the lease of a unit."""
    worker.redis.zadd(LEASES, {f"{explanation_id} {unit}": 0}, xx=True)


def _sweep(worker: HandWorker) -> list[tuple[str, int, int]]:
    """Names of the units found, how many workers each has lost for good, and its attempt."""
    found = worker.run("sweep", 3, 5, 10)
    return [(unit.decode(), lost, int(attempt)) for _, unit, _, lost, attempt, _ in found]


def _lose(worker: HandWorker, explanation_id: str, unit: str | int) -> None:
    """Loses the worker of a unit, and lets the pause before the next attempt pass."""
    _run_out(worker, explanation_id, unit)
    assert _sweep(worker) == []
    _run_out(worker, explanation_id, unit)


def test_what_is_leased_is_left_alone(worker: HandWorker) -> None:
    worker.create("a")
    assert _sweep(worker) == []
    worker.claim("a")
    assert _sweep(worker) == []


def test_an_explanation_whose_ticket_was_lost_gets_another(worker: HandWorker) -> None:
    worker.create("a")
    worker.redis.zrem(READY, "a")  # by a listener that died
    _run_out(worker, "a")
    assert _sweep(worker) == [("explain", 0, 0)]
    assert _sweep(worker) == []
    assert worker.redis.zrange(READY, 0, -1) == [b"a"]


def test_an_explanation_whose_worker_was_lost_is_taken_again(worker: HandWorker) -> None:
    worker.create("a", methods=("saliency", "integrated_gradients", "lime"))
    first = worker.claim("a")
    assert first == 1
    worker.predict("a", first)
    within = [worker.run("claim", "a", str(unit), "hand", "", first)[0] for unit in (0, 1)]
    worker.succeed("a", 0, within[0])
    job = worker.claim("a", 2)
    _lose(worker, "a", "explain")
    record = worker.record("a")
    states = [record[f"{unit}:state".encode()] for unit in ("explain", 1, 2)]
    assert states == [PENDING, PENDING, RUNNING]
    assert _sweep(worker) == [("explain", 0, 1)]
    second = worker.claim("a")
    assert second == 2
    assert worker.run("claim", "a", "0", "hand", "", second) is None
    assert worker.run("claim", "a", "1", "hand", "", first) is None
    assert worker.run("claim", "a", "1", "hand", "", second) == [2]
    assert worker.succeed("a", 1, within[1]) == 0
    assert worker.succeed("a", 1, 2) == 1
    assert job is not None
    assert worker.succeed("a", 2, job) == 1


def test_a_second_attempt_does_not_tell_its_predictions_again(worker: HandWorker) -> None:
    worker.create("a")
    first = worker.claim("a")
    assert first is not None
    worker.predict("a", first)
    _lose(worker, "a", "explain")
    second = worker.claim("a")
    assert second is not None
    told = worker.record("a")[b"sequence"]
    assert worker.predict("a", second) == 1
    assert worker.record("a")[b"sequence"] == told


def test_what_was_lost_is_taken_alone(worker: HandWorker) -> None:
    for name in "ab":
        worker.create(name)
    assert worker.claim("a") == 1
    _lose(worker, "a", "explain")
    _sweep(worker)
    for name in "ab":
        claimed = worker.run("claim_ready", "default", "hand", name, "models/tiny", 100)
        assert [taken[0].decode() for taken in claimed] == [name]


def test_a_method_that_no_worker_takes_gets_another_ticket(worker: HandWorker) -> None:
    worker.create("a", methods=("lime",))
    attempt = worker.claim("a")
    assert attempt is not None
    assert worker.run("offer", "a", attempt, "0") == [b"0"]
    assert _sweep(worker) == []
    assert worker.redis.zpopmin(JOBS) != []
    _run_out(worker, "a", 0)
    assert _sweep(worker) == [("0", 0, 0)]
    assert worker.redis.zrange(JOBS, 0, -1) == [b"a 0"]
    assert worker.claim("a", 0) == 1
    assert not worker.redis.exists(JOBS)


def test_only_the_attempt_that_holds_the_predictions_offers_what_waits(worker: HandWorker) -> None:
    worker.create("a", methods=("kernel_shap", "lime"))
    first = worker.claim("a")
    ended = worker.claim("a", 1)
    assert first and ended
    worker.succeed("a", 1, ended)
    _lose(worker, "a", "explain")
    second = worker.claim("a")
    assert second == 2
    assert worker.run("offer", "a", first, "0", "1") == []
    assert not worker.redis.exists(JOBS)
    assert worker.run("offer", "a", second, "0", "1") == [b"0"]
    assert worker.redis.zrange(JOBS, 0, -1) == [b"a 0"]


def test_a_checkpoint_outlives_its_attempt_and_clears_it_of_its_losses(worker: HandWorker) -> None:
    worker.create("a", methods=("lime",))
    worker.claim("a")
    first = worker.claim("a", 0)
    assert first is not None
    assert worker.run("checkpoint", "a", "0", first, b"scores") == 1
    _lose(worker, "a", 0)
    assert worker.record("a")[b"0:losses"] == b"1"
    assert worker.run("checkpoint", "a", "0", first, b"stale") == 0
    second = worker.claim("a", 0)
    assert second == 2
    assert worker.redis.get(records.checkpoint_key("a", "0")) == b"scores"
    assert worker.run("checkpoint", "a", "0", second, b"more") == 1
    assert b"0:losses" not in worker.record("a")
    assert worker.record("a")[b"0:lost_in_all"] == b"1"
    worker.succeed("a", 0, second)
    assert not worker.redis.exists(records.checkpoint_key("a", "0"))


def test_a_worker_that_renews_keeps_its_unit_and_a_lost_one_learns_of_it(
    worker: HandWorker,
) -> None:
    worker.create("a", methods=("lime",))
    worker.claim("a")
    attempt = worker.claim("a", 0)
    assert attempt is not None
    _run_out(worker, "a", 0)
    assert worker.run("renew", "a", "0", attempt) == [1]
    assert _sweep(worker) == []
    _lose(worker, "a", 0)
    assert worker.run("renew", "a", "0", attempt) == [0]
    assert worker.progress("a", 0, attempt, 10) == 0


def test_what_was_lost_is_left_alone_for_a_while(worker: HandWorker) -> None:
    worker.create("a")
    worker.claim("a")
    _run_out(worker, "a")
    assert _sweep(worker) == []
    seconds, microseconds = worker.redis.time()
    until_us = worker.redis.zscore(LEASES, "a explain")
    assert until_us is not None and until_us > seconds * 1e6 + microseconds


def test_no_more_than_the_limit_is_looked_after_at_once(worker: HandWorker) -> None:
    for name in "abc":
        worker.create(name)
        _run_out(worker, name)
    assert [len(worker.run("sweep", 3, 5, 2)) for _ in range(2)] == [2, 1]


def test_what_a_worker_writes_renews_the_lease_that_it_has(worker: HandWorker) -> None:
    worker.create("a", methods=("saliency", "lime"))
    explain = worker.claim("a")
    assert explain
    within = worker.run("claim", "a", "0", "hand", "", explain)[0]
    job = worker.claim("a", 1)
    assert job
    _run_out(worker, "a", 1)
    for unit, attempt in ((0, within), (1, job)):
        assert worker.progress("a", unit, attempt, done=1) == 1
    assert _sweep(worker) == []
    assert worker.record("a")[b"1:state"] == RUNNING
    assert worker.redis.zscore(LEASES, "a 0") is None


def test_what_is_lost_too_often_is_left_to_the_sweeper_to_end(worker: HandWorker) -> None:
    worker.create("a", methods=("lime",))
    worker.claim("a")
    for _ in range(2):
        worker.claim("a", 0)
        _lose(worker, "a", 0)
    worker.claim("a", 0)
    _run_out(worker, "a", 0)
    assert _sweep(worker) == [("0", 3, 3)]
    assert _sweep(worker) == []
    assert worker.record("a")[b"0:state"] == RUNNING
    assert worker.fail("a", 0, 3) == 1
    assert worker.record("a")[b"state"] == FAILED


def test_what_goes_on_is_not_lost_for_ever(worker: HandWorker) -> None:
    """A job that ends each of its workers behind a checkpoint is never lost thrice in a row."""
    worker.create("a", methods=("lime",))
    worker.claim("a")
    for attempt in range(1, 6):
        assert worker.claim("a", 0) == attempt
        assert worker.run("checkpoint", "a", "0", attempt, b"scores") == 1
        if attempt < 5:
            _lose(worker, "a", 0)
    _run_out(worker, "a", 0)
    assert _sweep(worker) == [("0", 5, 5)]
    assert worker.record("a")[b"0:state"] == RUNNING


def test_what_a_worker_releases_is_due_at_once(worker: HandWorker) -> None:
    worker.create("a", methods=("lime",))
    worker.claim("a")
    attempt = worker.claim("a", 0)
    assert attempt is not None
    assert worker.run("release", "a", "0", attempt) == 1
    assert worker.run("release", "a", "0", attempt) == 0
    assert _sweep(worker) == [("0", 0, 1)]
    assert worker.claim("a", 0) == 2


@pytest.mark.parametrize("step", ["end", "delete", "succeed"])
def test_nothing_stays_leased_behind_the_end(worker: HandWorker, step: str) -> None:
    worker.create("a", methods=("saliency", "lime"))
    attempt = worker.claim("a")
    assert attempt is not None
    state = str(int(explanation_pb2.STATE_SUCCEEDED))
    match step:
        case "end":
            worker.run("offer", "a", attempt, "0", "1")
            worker.claim("a", 1)
            worker.run("end", "a", state, b"", "", "")
        case "delete":
            worker.run("offer", "a", attempt, "0", "1")
            worker.claim("a", 1)
            worker.run("delete", "a")
        case "succeed":
            for unit in (0, 1):
                claimed = worker.claim("a", unit)
                assert claimed is not None
                worker.succeed("a", unit, claimed)
    assert not worker.redis.exists(LEASES)
    assert not worker.redis.exists(JOBS)


def test_what_ends_while_it_waits_for_another_worker_waits_no_more(worker: HandWorker) -> None:
    worker.create("a", methods=("lime",))
    first = worker.claim("a")
    assert first
    worker.predict("a", first)
    worker.run("offer", "a", first, "0")
    job = worker.claim("a", 0)
    assert job
    worker.run("release", "a", "explain", first)
    assert _sweep(worker) == [("explain", 0, 1)]
    assert worker.succeed("a", 0, job) == 1
    record = worker.record("a")
    assert (record[b"state"], record[b"explain:state"]) == (SUCCEEDED, SUCCEEDED)
    assert worker.redis.keys(f"{records.PREFIX}ready:*") == []
    assert worker.redis.zcard(LEASES) == 0


def test_a_lease_that_is_renewed_behind_the_end_runs_out_once(worker: HandWorker) -> None:
    worker.create("a")
    explain = worker.claim("a")
    assert explain
    worker.predict("a", explain)
    method = worker.claim("a", 0)
    assert method
    worker.succeed("a", 0, method)
    assert worker.run("renew", "a", "explain", explain) == [1]
    _run_out(worker, "a")
    assert _sweep(worker) == []
    assert worker.redis.zcard(LEASES) == 0
    assert worker.record("a")[b"state"] == SUCCEEDED


def test_what_is_given_back_behind_the_end_is_not_taken_again(worker: HandWorker) -> None:
    worker.create("a")
    explain, method = worker.claim("a"), worker.claim("a", 0)
    assert explain and method
    worker.succeed("a", 0, method)
    assert worker.run("release", "a", "explain", explain) == 1
    assert worker.claim("a") is None
    assert _sweep(worker) == []
    assert worker.redis.zcard(LEASES) == 0


def test_what_followed_in_vain_gets_a_ticket_at_once(worker: HandWorker) -> None:
    worker.create("a", question="q")
    worker.create("b", question="q")
    worker.claim("a")
    attempt = worker.claim("a", 0)
    assert attempt
    worker.fail("a", 0, attempt)
    assert _sweep(worker) == [("explain", 0, 0)]
    assert worker.claim("b") == 1


def test_what_follows_an_explanation_that_is_gone_is_worked_on(worker: HandWorker) -> None:
    worker.create("a", question="q", ttl_ms=1000)
    worker.create("b", question="q")
    expires_us = int(worker.record("a")[b"expire_time"])
    assert worker.redis.zscore(LEASES, "b explain") == pytest.approx(expires_us + 60e6, abs=1e6)
    worker.redis.delete(records.record_key("a"))  # all servers were away, and nobody ended it
    _run_out(worker, "b")
    assert _sweep(worker) == [("explain", 0, 0)]
    assert worker.redis.zrange(READY, -1, -1) == [b"b"]


def test_what_is_left_of_an_explanation_that_is_gone_is_forgotten(worker: HandWorker) -> None:
    worker.create("a", ttl_ms=1000)
    assert worker.redis.pttl(f"{READY}:digest") > 0
    worker.redis.delete(records.record_key("a"))
    taken = worker.run("claim_ready", tasks.DEFAULT_POOL, "hand", "", "models/tiny", 1)
    assert taken == []
    assert not worker.redis.exists(READY)
