"""How a server is connected to Redis."""

from collections.abc import Iterable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from expound.redis_address import RedisAddress

_TIMEOUTS: dict[str, Any] = {"socket_timeout": 5, "socket_connect_timeout": 2}
_OPTIONS: dict[str, Any] = {
    **_TIMEOUTS,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry": Retry(NoBackoff(), 0),
    # With the third, redis-py makes text of every message of a subscription, for its log.
    "protocol": 2,
}


def connect(url: str, max_connections: int) -> Redis:
    """Makes a client that fails within seconds, and never sends a command twice.

    A script whose reply was lost may have run, so nothing below the caller may repeat it.
    """
    address = RedisAddress.parse(url)
    limits: dict[str, Any] = {"max_connections": max_connections, "timeout": 5}
    options = {**_OPTIONS, **address.options}
    pool: BlockingConnectionPool
    if address.sentinels:
        sentinel_options = {**_TIMEOUTS, **address.sentinel_options}
        sentinel = Sentinel(address.sentinels, sentinel_kwargs=sentinel_options)
        pool = _SentinelPool(  # type: ignore[no-untyped-call]  # of redis-py
            address.master, sentinel, **limits, **options
        )
    else:
        # Redis knows which connections its options mean, but its own pool lets nobody wait.
        made = Redis(**options).connection_pool
        pool = BlockingConnectionPool(
            connection_class=made.connection_class, **limits, **made.connection_kwargs
        )
    # Of TCP, TLS, a socket of the file system or a sentinel's master, as the URL says.
    pool.connection_class = type("Connection", (_Connection, pool.connection_class), {})
    return Redis.from_pool(pool)


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master that the sentinels name; who finds none free waits for one."""


class _Connection(AbstractConnection):
    """A connection whose end is told by redis-py's own error, on uvloop as on asyncio's loop."""

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Sends a command. Raises RedisConnectionError where the connection has ended."""
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            # What uvloop says of a transport that is closed already; redis-py knows OSError alone.
            raise RedisConnectionError(str(error)) from error
