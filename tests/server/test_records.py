"""The Lua scripts: every transition of a record, and what each refuses."""

import threading

import msgpack
import pytest
import redis

from expound import records
from expound.reasons import Reason, status
from expound.v1 import explanation_pb2
from tests.processes import wait_until
from tests.server.hand_worker import HandWorker, model

PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED = (
    str(int(state)).encode()
    for state in (
        explanation_pb2.STATE_PENDING,
        explanation_pb2.STATE_RUNNING,
        explanation_pb2.STATE_SUCCEEDED,
        explanation_pb2.STATE_FAILED,
        explanation_pb2.STATE_CANCELLED,
        explanation_pb2.STATE_EXPIRED,
    )
)
LATE = status(Reason.DEADLINE_EXCEEDED, "late").SerializeToString()
OLD = status(Reason.EXPIRED, "old").SerializeToString()
STOPPED = status(Reason.CANCELLED, "stopped").SerializeToString()


def _events(worker: HandWorker, explanation_id: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    entries: list[tuple[bytes, dict[bytes, bytes]]]
    entries = worker.redis.xrange(records.events_key(explanation_id))  # type: ignore[assignment]  # sync client
    return entries


def _keys(worker: HandWorker) -> set[bytes]:
    keys: list[bytes] = worker.redis.keys(f"{records.PREFIX}*")  # type: ignore[assignment]  # sync client
    return {key for key in keys if b"worker" not in key and b":turn:" not in key}


def test_create_gives_a_pending_record_with_inputs_and_the_first_event(worker: HandWorker) -> None:
    assert worker.create("a", methods=("saliency", "lime")) == ("created", "a")
    record = worker.record("a")
    assert record[b"state"] == record[b"explain:state"] == record[b"1:state"] == PENDING
    assert (record[b"methods"], record[b"inputs"], record[b"open"]) == (b"2", b"2", b"2")
    assert worker.redis.get(f"{records.record_key('a')}:input:1") == b"second"
    [(entry_id, entry)] = _events(worker, "a")
    assert (entry_id, entry[b"kind"], entry[b"state"]) == (b"1-0", b"state", PENDING)


def test_create_with_a_known_request_id_gives_the_first_or_a_conflict(worker: HandWorker) -> None:
    worker.create("a", request_id="r", digest="one")
    assert worker.create("b", request_id="r", digest="one") == ("existing", "a")
    assert worker.create("c", request_id="r", digest="two") == ("conflict", "a")
    assert not worker.record("b")


def test_a_request_id_is_free_where_its_explanation_is_gone(worker: HandWorker) -> None:
    worker.create("a", request_id="r")
    worker.redis.delete(records.record_key("a"))
    assert worker.create("b", request_id="r") == ("created", "b")


def test_every_key_of_an_explanation_expires(worker: HandWorker) -> None:
    shared = {f"{records.PREFIX}deadlines".encode(), f"{records.PREFIX}leases".encode()}
    shared |= {f"{records.PREFIX}ready:default".encode(), records.wake_key("default").encode()}

    def lasting() -> list[bytes]:
        return [key for key in _keys(worker) - shared if worker.redis.pttl(key) == -1]

    worker.create("a", request_id="r", methods=("lime",), question="q", stored_bytes=10_000)
    assert worker.create("follows", question="q") == ("created", "follows")
    assert worker.redis.exists(f"{records.record_key('a')}:followers")
    assert lasting() == []
    explain = worker.claim("a")
    assert explain
    worker.predict("a", explain)
    attempt = worker.claim("a", 0)
    assert attempt
    assert worker.run("checkpoint", "a", "0", attempt, b"scores") == 1
    assert lasting() == []
    worker.succeed("a", 0, attempt)
    assert worker.create("again", question="q") == ("reused", "again")
    assert {records.result_key(name, 0).encode() for name in ("a", "follows", "again")} <= _keys(
        worker
    )
    assert lasting() == []


def test_a_ticket_delivered_twice_claims_once(worker: HandWorker) -> None:
    worker.create("a")
    assert worker.claim("a") == 1
    assert worker.claim("a") is None
    assert worker.record("a")[b"state"] == RUNNING


def test_of_fifty_claims_at_once_one_wins(worker: HandWorker, redis_url: str) -> None:
    worker.create("a")
    won: list[int | None] = []

    def claim() -> None:
        other = HandWorker(redis_url)
        won.append(other.claim("a"))
        other.redis.close()

    threads = [threading.Thread(target=claim) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won, key=bool) == [None] * 49 + [1]


def test_an_unknown_explanation_cannot_be_claimed(worker: HandWorker) -> None:
    assert worker.claim("a") is None
    assert not worker.record("a")


def test_a_stale_attempt_can_neither_write_nor_finish(worker: HandWorker) -> None:
    worker.create("a")
    worker.claim("a")
    attempt = worker.claim("a", 0)
    assert attempt == 1
    newest = worker.record("a")[b"sequence"]
    assert worker.progress("a", 0, attempt + 1, 10) == 0
    assert worker.succeed("a", 0, attempt + 1) == 0
    assert worker.record("a")[b"sequence"] == newest
    assert worker.succeed("a", 0, attempt) == 1
    assert worker.succeed("a", 0, attempt) == 0
    assert worker.progress("a", 0, attempt, 10) == 0


def test_the_whole_succeeds_with_its_last_method(worker: HandWorker) -> None:
    worker.create("a", methods=("saliency", "lime"))
    explain = worker.claim("a")
    assert explain is not None
    assert worker.predict("a", explain) == 1
    for unit in (1, 0):
        assert worker.record("a")[b"state"] == RUNNING
        attempt = worker.claim("a", unit)
        assert attempt is not None
        assert worker.succeed("a", unit, attempt) == 1
    record = worker.record("a")
    assert (record[b"state"], record[b"open"]) == (SUCCEEDED, b"0")
    assert int(record[b"end_time"]) >= int(record[b"1:end_time"])


def test_the_whole_fails_with_the_first_failed_method_and_keeps_the_others(
    worker: HandWorker,
) -> None:
    worker.create("a", methods=("saliency", "lime"))
    worker.claim("a")
    first, second = worker.claim("a", 0), worker.claim("a", 1)
    assert first is not None
    assert second is not None
    assert worker.fail("a", 0, first) == 1
    assert worker.record("a")[b"state"] == RUNNING
    assert worker.succeed("a", 1, second) == 1
    record = worker.record("a")
    assert record[b"state"] == record[b"0:state"] == FAILED
    assert record[b"error"] == record[b"0:error"] != b""
    assert worker.redis.exists(records.result_key("a", 1))


def test_events_are_numbered_without_a_gap(worker: HandWorker) -> None:
    worker.create("a")
    worker.work_off("a")
    numbers = [entry_id for entry_id, _ in _events(worker, "a")]
    assert numbers == [f"{number}-0".encode() for number in range(1, len(numbers) + 1)]
    assert int(worker.record("a")[b"sequence"]) == len(numbers)


def test_a_cancel_ends_what_is_unfinished_and_stops_the_worker(worker: HandWorker) -> None:
    worker.create("a", methods=("saliency", "lime"))
    worker.claim("a")
    first, second = worker.claim("a", 0), worker.claim("a", 1)
    assert first is not None
    assert second is not None
    worker.succeed("a", 0, first)
    assert worker.run("end", "a", CANCELLED, STOPPED, "", "") == 1
    record = worker.record("a")
    assert (record[b"state"], record[b"0:state"], record[b"1:state"]) == (
        CANCELLED,
        SUCCEEDED,
        CANCELLED,
    )
    assert record[b"explain:state"] == CANCELLED
    assert worker.progress("a", 1, second, 10) == 0
    assert worker.succeed("a", 1, second) == 0
    assert worker.run("end", "a", CANCELLED, STOPPED, "", "") == 0
    assert worker.run("end", "b", CANCELLED, STOPPED, "", "") is None


def test_a_cancelled_explanation_cannot_be_claimed(worker: HandWorker) -> None:
    worker.create("a")
    worker.run("end", "a", CANCELLED, STOPPED, "", "")
    assert worker.claim("a") is None
    assert worker.claim("a", 0) is None


def test_only_the_attempt_that_holds_a_unit_may_end_the_whole(worker: HandWorker) -> None:
    worker.create("a")
    attempt = worker.claim("a")
    assert attempt == 1
    assert worker.run("end", "a", FAILED, STOPPED, records.EXPLAIN_UNIT, attempt + 1) == 0
    assert worker.run("end", "a", FAILED, STOPPED, records.EXPLAIN_UNIT, attempt) == 1


def _expire(worker: HandWorker, limit: int = 10) -> int:
    return int(worker.run("expire", LATE, OLD, limit))


def _has_state(worker: HandWorker, explanation_id: str, state: bytes) -> bool:
    _expire(worker)
    return worker.record(explanation_id).get(b"state") == state


def test_a_passed_deadline_fails_what_is_unfinished(worker: HandWorker) -> None:
    worker.create("a", methods=("saliency", "lime"), timeout_ms=100)
    assert _expire(worker) == 0
    worker.claim("a")
    first = worker.claim("a", 0)
    assert first is not None
    worker.succeed("a", 0, first)
    wait_until(lambda: _has_state(worker, "a", FAILED), "the deadline", 10)
    record = worker.record("a")
    assert (record[b"0:state"], record[b"1:state"]) == (SUCCEEDED, FAILED)
    assert record[b"error"] == record[b"1:error"] == LATE


def test_a_passed_ttl_expires_the_whole_and_leaves_the_index(worker: HandWorker) -> None:
    worker.create("a", ttl_ms=1)
    wait_until(lambda: _has_state(worker, "a", EXPIRED), "the ttl", 10)
    assert worker.record("a")[b"error"] == OLD
    _expire(worker)
    assert worker.redis.zcard(records.index_key("default")) == 0
    assert worker.redis.zcard(f"{records.PREFIX}deadlines") == 0


def test_an_ended_explanation_leaves_the_index_when_it_expires(worker: HandWorker) -> None:
    worker.create("a", ttl_ms=300)
    worker.work_off("a")

    def forgotten() -> bool:
        _expire(worker)
        return worker.redis.zcard(records.index_key("default")) == 0

    assert not forgotten()
    wait_until(forgotten, "the ttl", 10)
    assert worker.record("a")[b"state"] == SUCCEEDED


def test_an_ended_explanation_is_in_the_index_beyond_its_deadline(worker: HandWorker) -> None:
    worker.create("a", timeout_ms=0)
    worker.work_off("a")
    _expire(worker)
    assert worker.redis.zscore(records.index_key("default"), "a") is not None


def test_no_more_than_the_limit_is_ended_at_once(worker: HandWorker) -> None:
    for number in range(5):
        worker.create(f"a{number}", timeout_ms=0)
    assert _expire(worker, limit=3) == 3


def test_delete_leaves_nothing_and_stops_the_worker(worker: HandWorker) -> None:
    worker.create("a", request_id="r", methods=("saliency", "lime"), question="q")
    worker.claim("a")
    first, second = worker.claim("a", 0), worker.claim("a", 1)
    assert first is not None
    assert second is not None
    worker.succeed("a", 0, first)
    assert worker.run("checkpoint", "a", "1", second, b"scores") == 1
    assert worker.run("delete", "a") == 1
    assert _keys(worker) == set()
    assert worker.succeed("a", 1, second) == 0
    assert worker.progress("a", 1, second, 1) == 0
    assert _keys(worker) == set()
    assert worker.run("delete", "a") == 0


def test_delete_leaves_the_question_to_the_newer_one_that_answers_it(worker: HandWorker) -> None:
    for name in ("older", "newer"):
        worker.create(name, question="q", max_reuse_age_ms=0)
        worker.work_off(name)
    assert worker.run("delete", "older") == 1
    assert worker.create("again", question="q") == ("reused", "again")


def test_a_worker_lives_as_long_as_its_heart_beats(redis_url: str) -> None:
    worker = HandWorker(redis_url)
    assert worker.run("workers") == []
    assert worker.run("heartbeat", "hand", 60_000, "") == 0
    worker.publish(model("tiny"), alive_ms=60_000)
    assert worker.run("heartbeat", "hand", 50, "") == 1
    assert len(worker.run("workers")) == 1
    wait_until(lambda: worker.run("workers") == [], "the death of the worker", 10)
    assert worker.redis.zcard(f"{records.PREFIX}workers") == 0
    worker.redis.close()


def test_a_heartbeat_without_a_card_keeps_a_worker_alive(redis_url: str) -> None:
    worker = HandWorker(redis_url)
    worker.publish(model("tiny"), alive_ms=10_000)
    assert worker.run("heartbeat", "hand", 60_000, "") == 1
    seconds, _ = worker.redis.time()
    until_ms = worker.redis.zscore(f"{records.PREFIX}workers", "hand")
    assert until_ms is not None and until_ms > (seconds + 30) * 1000
    assert worker.redis.pttl(f"{records.PREFIX}worker:hand") > 30_000
    worker.redis.close()


@pytest.mark.parametrize("step", ["claim", "end", "delete"])
def test_every_step_rings_the_doorbell(worker: HandWorker, step: str) -> None:
    worker.create("a")
    subscription: redis.client.PubSub = worker.redis.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(records.DOORBELL, records.DOORBELL_PROGRESS)
    subscription.get_message(timeout=10)
    subscription.get_message(timeout=10)
    match step:
        case "claim":
            worker.claim("a")
        case "end":
            worker.run("end", "a", CANCELLED, STOPPED, "", "")
        case "delete":
            worker.run("delete", "a")
    wanted = records.DOORBELL_PROGRESS if step == "claim" else records.DOORBELL
    while (message := subscription.get_message(timeout=10))["channel"].decode() != wanted:
        assert message["data"] == b"a"
    assert message["data"] == b"a"
    subscription.close()


def _claim_ready(worker: HandWorker, explanation_id: str = "", room: int = 100) -> list[str]:
    claimed = worker.run("claim_ready", "default", "hand", explanation_id, "models/tiny", room)
    return [taken[0].decode() for taken in claimed]


def test_a_ready_claim_takes_the_oldest_and_what_can_run_with_it(worker: HandWorker) -> None:
    for name, digest in (("a", "one"), ("b", "two"), ("c", "one")):
        worker.create(name, digest=digest)
    assert _claim_ready(worker) == ["a", "c"]
    assert _claim_ready(worker) == ["b"]
    assert _claim_ready(worker) == []


def test_what_lasts_waits_in_a_queue_of_its_own(worker: HandWorker) -> None:
    worker.create("a", lasting=True)
    worker.create("b")
    assert _claim_ready(worker, "a") == ["b"]
    assert _claim_ready(worker) == []
    claimed = worker.run(
        "claim_ready", records.lasting_queue("default"), "hand", "", "models/tiny", 2
    )
    assert [taken[0] for taken in claimed] == [b"a"]
    assert not [key for key in _keys(worker) if b"ready" in key or b"wake" in key]


def test_a_ready_claim_gives_what_the_worker_needs_of_each(worker: HandWorker) -> None:
    worker.create("a")
    ((name, attempt, request, predictions, *inputs),) = worker.run(
        "claim_ready", "default", "hand", "", "models/tiny", 2
    )
    assert (name, attempt, predictions, inputs) == (b"a", 1, b"", [b"first", b"second"])
    assert explanation_pb2.ExplainRequest.FromString(request).model == "tiny"


def test_a_ready_claim_begins_with_the_one_named_if_nobody_has_it(worker: HandWorker) -> None:
    for name in "abc":
        worker.create(name, digest=name)
    assert _claim_ready(worker, "b") == ["b"]
    assert _claim_ready(worker, "b") == ["a"]


def test_a_ready_claim_takes_no_more_inputs_than_there_is_room_for(worker: HandWorker) -> None:
    for name in "abc":
        worker.create(name)
    assert _claim_ready(worker, room=4) == ["a", "b"]
    assert _claim_ready(worker, room=1) == ["c"]


def test_a_ready_claim_passes_over_what_is_gone(worker: HandWorker) -> None:
    for name in "abc":
        worker.create(name)
    worker.redis.delete(records.record_key("b"))
    assert _claim_ready(worker) == ["a", "c"]


def test_what_has_ended_or_is_deleted_waits_no_more(worker: HandWorker) -> None:
    for name in "abc":
        worker.create(name)
    worker.run("end", "a", CANCELLED, STOPPED, "", "")
    worker.run("delete", "b")
    assert _claim_ready(worker) == ["c"]
    assert not [key for key in _keys(worker) if b"ready" in key]


def test_workers_are_woken_while_explanations_wait(worker: HandWorker) -> None:
    def waking() -> int:
        return int(worker.redis.llen(records.wake_key("default")))

    worker.create("a", digest="one")
    worker.create("b", digest="two")
    assert waking() == 1
    assert worker.redis.lpop(records.wake_key("default")) == b""
    assert _claim_ready(worker) == ["a"]
    assert waking() == 1
    assert _claim_ready(worker) == ["b"]
    assert waking() == 0


@pytest.mark.parametrize("large", ["nothing", "map", "predictions", "request"])
def test_a_small_answer_is_sent_where_a_caller_waits(worker: HandWorker, large: str) -> None:
    contents = {part: b"x" * 200 for part in ("map", "predictions", "request")}
    contents[large] = b"x" * 20_000
    with worker.redis.pubsub() as subscription:
        subscription.subscribe(f"{records.ANSWERS}here", records.DOORBELL)
        worker.create("a", waiting="here")
        attempt = worker.claim("a")
        assert attempt is not None
        for field in ("predictions", "request"):
            worker.redis.hset(records.record_key("a"), field, contents[field])
        result = (SUCCEEDED, b"", contents["map"], b"")
        assert worker.run("finish", "a", "0", 0, *result, "hand", attempt, 0)
        heard: list[tuple[bytes, bytes]] = []

        def ended() -> bool:
            message = subscription.get_message(ignore_subscribe_messages=True, timeout=1)
            heard.extend([(message["channel"], message["data"])] if message else [])
            return heard[-1:] == [(records.DOORBELL.encode(), b"a")]

        wait_until(ended, "the ring")
    if large != "nothing":
        assert len(heard) == 1
        return
    explanation_id, (fields, results) = msgpack.unpackb(heard[0][1], raw=True)
    assert (explanation_id, results) == (b"a", [contents["map"]])
    assert dict(zip(fields[::2], fields[1::2], strict=True)) == worker.record("a")


def test_what_follows_rings_as_what_it_follows(worker: HandWorker) -> None:
    with worker.redis.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(f"{records.ANSWERS}here", records.DOORBELL)
        worker.create("a", question="q")
        worker.create("b", question="q", waiting="here")
        worker.work_off("a")
        heard: list[tuple[bytes, bytes]] = []

        def ended() -> bool:
            message = subscription.get_message(timeout=1)
            heard.extend([(message["channel"], message["data"])] if message else [])
            return heard[-1:] == [(records.DOORBELL.encode(), b"b")]

        wait_until(ended, "the ring", 10)
    sent = [msgpack.unpackb(data, raw=True)[0] for channel, data in heard if b"answers" in channel]
    assert sent == [b"b"]


def test_a_method_that_is_claimed_as_it_ends_is_claimed_within_its_explain(
    worker: HandWorker,
) -> None:
    def finish(attempt: int) -> int:
        taken_us = 5000
        claim = ("hand", attempt, taken_us)
        return int(worker.run("finish", "a", "0", 0, SUCCEEDED, b"", b"map", b"", *claim))

    worker.create("a")
    attempt = worker.claim("a")
    assert attempt is not None
    assert finish(attempt + 1) == 0
    assert worker.record("a")[b"0:state"] == PENDING
    assert finish(attempt) == 1
    record = worker.record("a")
    assert record[b"0:attempt"] == b"1"
    assert int(record[b"0:end_time"]) - int(record[b"0:start_time"]) == 5000
    assert finish(attempt) == 0
    kinds = [(entry[b"kind"], entry[b"state"]) for _, entry in _events(worker, "a")]
    assert kinds == [
        (b"state", PENDING),
        (b"state", RUNNING),
        (b"method", RUNNING),
        (b"method", SUCCEEDED),
        (b"state", SUCCEEDED),
    ]


def test_one_ticket_does_for_a_group_that_waits(worker: HandWorker) -> None:
    def needs_ticket(name: str, group: str) -> bool:
        worker.create(name, digest=group)
        return worker.needs_ticket

    assert needs_ticket("a", "one")
    assert not needs_ticket("b", "one")
    assert needs_ticket("c", "two")
    assert _claim_ready(worker, "a") == ["a", "b"]
    assert needs_ticket("d", "one")
