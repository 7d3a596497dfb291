"""By which name servers and the records know a worker."""

import socket


def identity(process: int) -> str:
    """The name of the worker whose first process has this id; it outlives the child processes."""
    return f"{socket.gethostname()}:{process}"
