"""Ports that are taken, and those that have just been left."""

import socket

from expound_deploy.ports import free_port, is_taken


def test_a_port_is_taken_while_somebody_listens_and_not_for_the_connections_that_remain() -> None:
    port = free_port()
    assert not is_taken("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)) as server:
        assert is_taken("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)) as client:
            # Who closes first keeps the port for a while.
            server.accept()[0].close()
            assert client.recv(1) == b""
    assert not is_taken("127.0.0.1", port)
