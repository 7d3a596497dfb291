"""How a worker takes work from a real Redis."""

import numpy as np
import pytest
import redis

from expound import records, tasks
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2
from expound_worker.claims import Claims
from expound_worker.store import Store
from expound_worker.unit import Work
from tests.server.hand_worker import HandWorker

POOL = tasks.DEFAULT_POOL
SIZES = {"models/other": 1, "models/tiny": 4}
INPUTS = [
    explanation_pb2.Input(tensor=to_tensor(np.full((3, 2, 2), number, dtype=np.float32)))
    for number in range(2)
]


@pytest.fixture
def hand(redis_url: str) -> HandWorker:
    """A worker of a Redis in which nothing waits, and that knows no script."""
    hand = HandWorker(redis_url)
    hand.redis.script_flush()
    return hand


@pytest.fixture
def claims(hand: HandWorker) -> Claims:
    return Claims(Store(hand.redis, hand.worker))


def create(hand: HandWorker, *names: str, methods: tuple[str, ...] = ("saliency",)) -> None:
    for name in names:
        hand.create(
            name, methods=methods, inputs=tuple(each.SerializeToString() for each in INPUTS)
        )


def ids(works: list[Work]) -> list[str]:
    return [work.unit.explanation_id for work in works]


def test_what_is_taken_comes_with_all_that_it_needs_and_once(
    hand: HandWorker, claims: Claims
) -> None:
    create(hand, "a", methods=("saliency", "lime"))
    work = claims.take("a", records.EXPLAIN_UNIT)
    assert work is not None
    assert (work.unit.name, work.unit.attempt) == (records.EXPLAIN_UNIT, 1)
    assert [method.key for method in work.request.methods] == ["saliency", "lime"]
    assert list(work.request.inputs) == INPUTS
    assert not work.predictions.predictions
    assert claims.take("a", records.EXPLAIN_UNIT) is None
    hand.predict("a", work.unit.attempt)
    hand.run("offer", "a", work.unit.attempt, "1")
    job = claims.take("a", "1")
    assert job is not None
    assert job.predictions.predictions[0].classes[0].label == "cat"


def test_a_batch_has_as_many_inputs_as_its_model_takes(hand: HandWorker, claims: Claims) -> None:
    create(hand, "a", "b", "c")
    assert ids(claims.take_ready(POOL, "b", SIZES)) == ["b", "a"]
    assert ids(claims.take_ready(POOL, "b", SIZES)) == ["c"]
    assert claims.take_ready(POOL, "", SIZES) == []


def test_what_waits_already_is_heard_of_by_a_redis_that_knows_no_script(
    hand: HandWorker, claims: Claims
) -> None:
    create(hand, "a", "b", "c")
    hand.redis.script_flush()
    works = claims.wait_ready(POOL, 10, SIZES)
    assert ids(works) == ["a", "b"]
    assert list(works[1].request.inputs) == INPUTS
    assert ids(claims.wait_ready(POOL, 10, SIZES)) == ["c"]
    assert claims.wait_ready(POOL, 0.01, SIZES) == []


def test_an_error_of_redis_is_raised(hand: HandWorker, claims: Claims) -> None:
    hand.redis.set(f"{records.PREFIX}ready:{POOL}", "no sorted set")
    for _ in ("while it knows no script", "when it does"):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            claims.wait_ready(POOL, 0.01, SIZES)


def test_a_job_that_is_popped_is_no_other_workers(hand: HandWorker, claims: Claims) -> None:
    create(hand, "a", methods=("lime", "saliency", "kernel_shap"))
    hand.run("offer", "a", hand.claim("a") or 0, "0", "2")
    assert [claims.next_job(POOL, 10) for _ in range(2)] == [("a", 0), ("a", 2)]
    assert claims.next_job(POOL, 0.01) is None
