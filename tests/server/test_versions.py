"""Another version of a model: when its worker may begin an explanation anew."""

from expound import records
from expound.v1 import explanation_pb2
from tests.server.hand_worker import HandWorker

PENDING, RUNNING, SUCCEEDED = (
    str(int(state)).encode()
    for state in (
        explanation_pb2.STATE_PENDING,
        explanation_pb2.STATE_RUNNING,
        explanation_pb2.STATE_SUCCEEDED,
    )
)


def _begun(worker: HandWorker, methods: tuple[str, ...]) -> int:
    """Predicts and offers the methods; gives the attempt at `explain`, which runs on."""
    worker.create("a", methods=methods)
    attempt = worker.claim("a")
    assert attempt == 1
    worker.predict("a", attempt)
    assert len(worker.run("offer", "a", attempt, *map(str, range(len(methods))))) == len(methods)
    return attempt


def _begin_anew(worker: HandWorker, unit: str | int, attempt: int, version: bytes) -> int:
    return int(worker.run("begin_anew", "a", str(unit), attempt, version, b"of", version))


def _end_explain(worker: HandWorker, attempt: int) -> None:
    assert worker.run("finish", "a", "explain", attempt, SUCCEEDED, b"", b"", b"") == 1


def _made_with(worker: HandWorker) -> bytes:
    record = worker.record("a")
    assert record[b"predictions"] == record[b"made_with"]
    return record[b"made_with"]


def _predictions_told(worker: HandWorker) -> int:
    events: list[tuple[bytes, dict[bytes, bytes]]]
    events = worker.redis.xrange(records.events_key("a"))  # type: ignore[assignment]  # sync client
    return [entry[b"kind"] for _, entry in events].count(b"predictions")


def test_who_begins_anew_drops_the_checkpoints_and_tells_its_predictions(
    worker: HandWorker,
) -> None:
    explain = _begun(worker, ("lime", "kernel_shap"))
    _end_explain(worker, explain)
    for unit in (0, 1):
        assert worker.claim("a", unit) == 1
        assert worker.run("checkpoint", "a", str(unit), 1, b"scores") == 1
    assert worker.run("release", "a", "1", 1) == 1
    assert _begin_anew(worker, 0, 1, b"2") == 1
    assert _made_with(worker) == b"2"
    assert _predictions_told(worker) == 2
    assert not worker.redis.exists(*(records.checkpoint_key("a", unit) for unit in "01"))


def test_a_lost_attempt_begins_nothing_anew(worker: HandWorker) -> None:
    explain = _begun(worker, ("lime",))
    _end_explain(worker, explain)
    assert worker.claim("a", 0) == 1
    assert worker.run("release", "a", "0", 1) == 1
    before = worker.record("a")
    assert _begin_anew(worker, 0, 1, b"2") == 0
    assert worker.record("a") == before


def test_a_method_gives_way_to_what_runs_beside_it(worker: HandWorker) -> None:
    """It is left alone for a while, so that the other one can end."""
    explain = _begun(worker, ("lime", "kernel_shap"))
    assert worker.claim("a", 0) == 1
    assert _begin_anew(worker, 0, 1, b"2") == 0
    assert worker.record("a")[b"0:state"] == PENDING
    assert worker.run("sweep", 3, 10, 10) == []
    _end_explain(worker, explain)
    assert [worker.claim("a", 0), worker.claim("a", 1)] == [2, 1]
    assert _begin_anew(worker, 0, 2, b"2") == 0
    assert worker.record("a")[b"1:state"] == RUNNING
    assert _begin_anew(worker, 1, 1, b"2") == 1
    assert _made_with(worker) == b"2"


def test_predictions_give_way_to_a_method_that_runs(worker: HandWorker) -> None:
    explain = _begun(worker, ("lime",))
    assert worker.claim("a", 0) == 1
    assert _begin_anew(worker, "explain", explain, b"2") == 0
    assert worker.record("a")[b"explain:state"] == PENDING
    assert worker.succeed("a", 0, 1) == 1


def test_nothing_begins_anew_where_a_method_has_ended(worker: HandWorker) -> None:
    explain = _begun(worker, ("lime", "kernel_shap"))
    _end_explain(worker, explain)
    assert [worker.claim("a", 0), worker.claim("a", 1)] == [1, 1]
    assert worker.succeed("a", 1, 1) == 1
    before = worker.record("a")
    assert _begin_anew(worker, 0, 1, b"2") == -1
    assert worker.record("a") == before
