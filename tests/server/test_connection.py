"""The server's connections to Redis, on the event loop that it runs on."""

import asyncio

import pytest
import redis
import uvloop

from expound_server.connection import connect
from tests.processes import RedisServer


def test_a_connection_that_ends_in_the_moment_of_a_command_is_told_as_lost() -> None:
    async def send_on_a_closed_connection(url: str) -> None:
        client = connect(url, 1)
        connection = await client.connection_pool.get_connection()
        connection._writer.transport.abort()
        await asyncio.sleep(0)
        with pytest.raises(redis.ConnectionError):
            await connection.send_command("PING")
        await client.connection_pool.release(connection)
        assert await client.ping()
        await client.aclose()

    with RedisServer() as server:
        uvloop.run(send_on_a_closed_connection(server.url))
