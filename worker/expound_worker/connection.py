"""How a worker is connected to Redis."""

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from expound.redis_address import RedisAddress

_TIMEOUTS: dict[str, Any] = {"socket_timeout": 10, "socket_connect_timeout": 5}
_OPTIONS: dict[str, Any] = {
    **_TIMEOUTS,
    "retry": Retry(NoBackoff(), 0),
    "health_check_interval": 15,
}


def connect(url: str) -> Redis:
    """Makes a client that never sends a command twice: a script that has run might count twice."""
    address = RedisAddress.parse(url)
    options = {**_OPTIONS, **address.options}
    if not address.sentinels:
        return Redis(**options)
    sentinel_options = {**_TIMEOUTS, **address.sentinel_options}
    sentinel = Sentinel(address.sentinels, sentinel_kwargs=sentinel_options)
    master: Redis = sentinel.master_for(address.master, **options)
    return master
