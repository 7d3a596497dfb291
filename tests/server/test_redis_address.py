"""URLs of Redis."""

import subprocess
import sys
from typing import Any

import pytest

from expound import tasks
from expound.redis_address import RedisAddress

TLS = {"ssl": True, "ssl_cert_reqs": "required"}


@pytest.mark.parametrize(
    ("url", "options", "broker_url"),
    [
        ("redis://one", {"host": "one", "port": 6379, "db": 0}, "redis://:@one:6379/0"),
        (
            "redis://one:7/2?db=3",
            {"host": "one", "port": 7, "db": 3},
            "redis://:@one:7/3",
        ),
        (
            "redis://:p%40ss@[::1]/1",
            {"host": "::1", "port": 6379, "db": 1, "password": "p@ss"},
            "redis://:p%40ss@[::1]:6379/1",
        ),
        (
            "redis://:p%2Fss@one",
            {"host": "one", "port": 6379, "db": 0, "password": "p/ss"},
            "redis://:p%2Fss@one:6379/0",
        ),
        (
            "rediss://expound:secret@one?ssl_ca_certs=/etc/a%20ca.pem",
            {"host": "one", "port": 6379, "db": 0, "username": "expound", "password": "secret"}
            | TLS
            | {"ssl_ca_certs": "/etc/a ca.pem"},
            "rediss://expound:secret@one:6379/0",
        ),
        (
            "unix://:secret@/run/a%20redis.sock?db=2",
            {"unix_socket_path": "/run/a redis.sock", "db": 2, "password": "secret"},
            "redis+socket://:secret@/run/a%20redis.sock?virtual_host=2",
        ),
    ],
)
def test_a_client_and_celery_are_told_the_same(
    url: str, options: dict[str, Any], broker_url: str
) -> None:
    assert RedisAddress.parse(url) == RedisAddress(options)
    verified = {name: value for name, value in options.items() if name.startswith("ssl_")}
    told = {"broker_url": broker_url, "broker_use_ssl": verified}
    assert tasks.celery_settings(url) == {**tasks.CELERY_SETTINGS, **told}


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


def test_sentinels_have_addresses_of_either_version() -> None:
    url = "sentinel://:p%40ss@one,[::1]:7,[2001:db8::2],127.0.0.1:9/mymaster"
    address = RedisAddress.parse(url)
    assert address.sentinels == (
        ("one", 26379),
        ("::1", 7),
        ("2001:db8::2", 26379),
        ("127.0.0.1", 9),
    )
    assert tasks.celery_settings(url)["broker_url"].split(";") == [
        "sentinel://:p%40ss@one:26379/0",
        "sentinel://:p%40ss@[::1]:7/0",
        "sentinel://:p%40ss@[2001:db8::2]:26379/0",
        "sentinel://:p%40ss@127.0.0.1:9/0",
    ]


def test_credentials_and_database_may_be_left_out() -> None:
    assert RedisAddress.parse("sentinel://one:1/mymaster").options == {"db": 0}


def test_no_password_is_shown() -> None:
    assert "secret" not in repr(RedisAddress.parse("sentinel://:secret@one/mymaster"))
    assert "secret" not in repr(RedisAddress.parse("redis://:secret@one/0"))


@pytest.mark.parametrize(
    "url",
    ["", "redis", "redis+cluster://one:6379", "sentinel://one:1", "sentinel:///mymaster",
     "sentinel://one:1/mymaster/x", "sentinel://one:x/mymaster", "redis://one:x/0",
     "rediss://one/x", "redis://[::1/0", "redis://one?socket_timeout=3", "unix://", "unix://run/sock",
     "unix:///run/sock?db=x", "redis://one?ssl_ca_certs=ca.pem", "rediss://one?ssl_cert_reqs=none",
     "sentinel://one:1/mymaster?db=3", "sentinel://::1/mymaster", "sentinel://[::1/mymaster",
     "sentinel://[::1]7/mymaster", "sentinel://[one]:7/mymaster", "sentinel://one:1,/mymaster",
     "sentinel://[]/mymaster"],
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
