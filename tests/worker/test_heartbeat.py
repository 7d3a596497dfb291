"""A worker tells that it lives, by its card in Redis and by a file."""

from pathlib import Path

import pytest
import redis

from expound import records
from expound.v1 import worker_pb2
from expound_worker.connection import connect
from expound_worker.heartbeat import Heartbeat
from expound_worker.store import Store
from tests.processes import wait_until


def heartbeat(client: redis.Redis, file: str) -> Heartbeat:
    return Heartbeat(Store(client, "one"), worker_pb2.WorkerCard(worker="one"), file)


def wait_for_beat(client: redis.Redis) -> None:
    """Waits until the card lives longer than it would have."""

    def lives_until() -> float:
        return float(client.zscore(f"{records.PREFIX}workers", "one") or 0)

    before = lives_until()
    wait_until(lambda: lives_until() > before, "the card being renewed")


def cards(client: redis.Redis) -> list[str]:
    """The workers that live."""
    return [card.worker for card in Store(client, "two").workers()]


def test_it_beats_and_touches_its_file_until_it_is_stopped(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    client = connect(redis_url)
    beating = heartbeat(client, str(file))
    beating.start()
    wait_until(lambda: cards(client) == ["one"], "the card being there")
    assert file.exists()
    beating.stop()
    wait_until(lambda: not cards(client), "the card being gone", 5)
    client.close()


def test_a_file_that_cannot_be_touched_is_told_of_once_and_the_card_stays(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(redis_url)
    beating = heartbeat(client, str(tmp_path / "nowhere" / "heartbeat"))
    beating.start()
    for _ in range(2):
        wait_for_beat(client)
    beating.stop()
    assert caplog.text.count("nowhere/heartbeat") == 1
    client.close()
