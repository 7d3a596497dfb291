"""A unit of work: how it ends."""

import numpy as np
import pytest
import redis
from google.rpc import status_pb2

from expound.reasons import Reason, status
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2
from expound_worker import unit
from expound_worker.store import Store
from expound_worker.unit import Unit
from tests.server.hand_worker import HandWorker


@pytest.mark.parametrize(("side", "succeeds"), [(15, True), (17, False)])
def test_a_result_that_is_more_than_is_kept_ends_its_method_with_an_error(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, side: int, succeeds: bool
) -> None:
    monkeypatch.setattr(unit, "MAX_RESULT_BYTES", 16 * 16 * 4)
    hand = HandWorker(redis_url)
    hand.create("a")
    hand.claim("a")
    attempt = hand.claim("a", 0)
    assert attempt
    result = explanation_pb2.MethodResult()
    result.attributions.add(values=to_tensor(np.zeros((side, side), dtype=np.float32)))
    size = result.ByteSize()
    store = Store(redis.Redis.from_url(redis_url), hand.worker)
    store.run_to_end([Unit(store, "a", "0", attempt).succeeding(result)])
    record = hand.record("a")
    if succeeds:
        assert record[b"state"] == str(explanation_pb2.STATE_SUCCEEDED).encode()
        return
    assert record[b"state"] == str(explanation_pb2.STATE_FAILED).encode()
    assert status_pb2.Status.FromString(record[b"error"]) == status(
        Reason.MESSAGE_TOO_LARGE,
        f"the maps of the method take {size} bytes, above the 1024 that are kept of one; ask for "
        "fewer inputs or targets, or FLOAT16 values",
        metadata={"size": str(size), "limit": "1024"},
    )
