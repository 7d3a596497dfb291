"""A worker tells that it lives, by its card in Redis and by a file."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from expound import records
from expound.v1 import worker_pb2
from expound_worker.connection import connect
from expound_worker.heartbeat import Heartbeat
from expound_worker.loop import DeviceLoop
from expound_worker.store import Store
from tests.processes import wait_until

DEADLINE_S = 30.0


@pytest.fixture
def loop() -> Iterator[DeviceLoop]:
    loop = DeviceLoop()
    loop.start()
    yield loop
    loop.stop()


def heartbeat(
    client: redis.Redis, file: str, loop: DeviceLoop, hung_after_s: float = 600
) -> Heartbeat:
    card = worker_pb2.WorkerCard(worker="one")
    return Heartbeat(Store(client, "one"), card, file, loop.step_s, hung_after_s)


def wait_for_beat(client: redis.Redis) -> None:
    """Waits until the card lives longer than it would have."""

    def lives_until() -> float:
        return float(client.zscore(f"{records.PREFIX}workers", "one") or 0)

    before = lives_until()
    wait_until(lambda: lives_until() > before, "the card being renewed")


def cards(client: redis.Redis) -> list[str]:
    """The workers that live."""
    return [card.worker for card in Store(client, "two").workers()]


def test_it_beats_and_touches_its_file_until_it_is_stopped(
    redis_url: str, tmp_path: Path, loop: DeviceLoop
) -> None:
    file = tmp_path / "heartbeat"
    client = connect(redis_url)
    beating = heartbeat(client, str(file), loop)
    beating.start()
    wait_until(lambda: cards(client) == ["one"], "the card being there")
    assert file.exists()
    beating.stop()
    wait_until(lambda: not cards(client), "the card being gone", 5)
    client.close()


def test_a_file_that_cannot_be_touched_is_told_of_once_and_the_card_stays(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, loop: DeviceLoop
) -> None:
    client = connect(redis_url)
    beating = heartbeat(client, str(tmp_path / "nowhere" / "heartbeat"), loop)
    beating.start()
    for _ in range(2):
        wait_for_beat(client)
    beating.stop()
    assert caplog.text.count("nowhere/heartbeat") == 1
    client.close()


def test_a_device_that_hangs_is_not_told_of_until_it_goes_on(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, loop: DeviceLoop
) -> None:
    file, goes_on = tmp_path / "heartbeat", threading.Event()
    client = connect(redis_url)
    ended = loop.run(lambda: _wait(goes_on))
    wait_until(lambda: loop.step_s() > 0.01, "the step")
    beating = heartbeat(client, str(file), loop, hung_after_s=0.01)
    beating.start()
    wait_until(lambda: "the device is at one step for" in caplog.text, "the warning")
    assert not cards(client)
    assert not file.exists()
    goes_on.set()
    ended.result(DEADLINE_S)
    wait_until(lambda: cards(client) == ["one"], "the card being there")
    assert file.exists()
    beating.stop()
    client.close()


def test_a_device_that_is_busy_is_alive(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, loop: DeviceLoop
) -> None:
    file, goes_on = tmp_path / "heartbeat", threading.Event()
    client = connect(redis_url)
    loop.run(lambda: _wait(goes_on))
    beating = heartbeat(client, str(file), loop)
    beating.start()
    for _ in range(2):
        wait_for_beat(client)
    assert loop.step_s() > 0
    assert file.exists()
    assert not caplog.text
    goes_on.set()
    beating.stop()
    client.close()


def _wait(event: threading.Event) -> None:
    assert event.wait(DEADLINE_S)
