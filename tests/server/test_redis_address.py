"""URLs of Redis."""

import subprocess
import sys

import pytest

from expound import tasks
from expound.redis_address import RedisAddress
from expound_worker.settings import Settings


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:6379/0", "rediss://expound:secret@redis/1", "unix:///run/redis.sock"]
)
def test_what_redis_py_knows_is_left_as_it_is(url: str) -> None:
    assert RedisAddress.parse(url) == RedisAddress(url)
    settings = tasks.celery_settings(url)
    assert settings == {**tasks.CELERY_SETTINGS, "broker_url": url}


def test_sentinels_name_the_master() -> None:
    url = "sentinel://expound:p%40ss@one:26379,two/mymaster/3?sentinel_password=theirs"
    address = RedisAddress.parse(url)
    assert address.sentinels == (("one", 26379), ("two", 26379))
    assert address.master == "mymaster"
    assert address.options == {"db": 3, "username": "expound", "password": "p@ss"}
    assert address.sentinel_options == {"password": "theirs"}
    settings = tasks.celery_settings(url)
    one, two = settings["broker_url"].split(";")
    assert one == "sentinel://expound:p%40ss@one:26379/3"
    assert two == "sentinel://expound:p%40ss@two:26379/3"
    options = settings["broker_transport_options"]
    assert options["master_name"] == "mymaster"
    assert options["sentinel_kwargs"] == {"password": "theirs"}
    assert options["global_keyprefix"]


def test_credentials_and_database_may_be_left_out() -> None:
    assert RedisAddress.parse("sentinel://one:1/mymaster").options == {"db": 0}


def test_no_password_is_shown() -> None:
    assert "secret" not in repr(RedisAddress.parse("sentinel://:secret@one/mymaster"))
    assert "secret" not in repr(RedisAddress.parse("redis://:secret@one/0"))


@pytest.mark.parametrize(
    "url",
    ["", "redis", "redis+cluster://one:6379", "sentinel://one:1", "sentinel:///mymaster",
     "sentinel://one:1/mymaster/x", "sentinel://one:x/mymaster", "redis://one:x/0",
     "rediss://one/x", "redis://[::1/0"],
)  # fmt: skip
def test_other_urls_are_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(ValueError, match="Redis Cluster is not supported"):
        RedisAddress.parse(url)


@pytest.mark.parametrize("program", ["expound_server", "expound_worker"])
def test_a_process_that_is_told_of_no_redis_says_so_and_ends(program: str) -> None:
    command = [sys.executable, "-m", program, "--redis-url", "redis://one/x"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert "error: the URL of Redis must be redis://" in line


def test_a_worker_says_which_variable_is_wrong() -> None:
    with pytest.raises(ValueError, match="EXPOUND_MAX_STEP_S must be a number, not 'soon'"):
        Settings.from_environment({"EXPOUND_MAX_STEP_S": "soon"})
    with pytest.raises(ValueError, match="kinds of work are gradient,perturbation, not 'lime'"):
        Settings.from_environment({"EXPOUND_KINDS": "lime"})
