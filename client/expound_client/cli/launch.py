"""`expound up`, `server` and `worker`: each becomes the process of its part."""

import os
import sys
from importlib.util import find_spec

import click

_MODULES = {"up": "expound_deploy", "server": "expound_server", "worker": "expound_worker"}
_EXTRAS = {"up": "all", "server": "server", "worker": "worker"}
# One library that each extra brings, and the base does not.
_NEEDED = {
    "up": ("celery", "grpc_health", "torch", "captum"),
    "server": ("celery", "grpc_health"),
    "worker": ("celery", "torch", "captum"),
}

_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(add_help_option=False, context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def up(arguments: tuple[str, ...]) -> None:
    """Start everything on this machine: Redis, worker and server."""
    _become("up", arguments)


@click.command(add_help_option=False, context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def server(arguments: tuple[str, ...]) -> None:
    """Start a server."""
    _become("server", arguments)


@click.command(add_help_option=False, context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def worker(arguments: tuple[str, ...]) -> None:
    """Start a worker."""
    _become("worker", arguments)


def _become(name: str, arguments: tuple[str, ...]) -> None:
    """Replaces this process with the part's own. Raises UsageError when it is not installed."""
    missing = [
        library for library in (_MODULES[name], *_NEEDED[name]) if find_spec(library) is None
    ]
    if missing:
        raise click.UsageError(
            f"`expound {name}` needs {missing[0]}, which is not installed. "
            f"Run: pip install 'expound[{_EXTRAS[name]}]'"
        )
    os.execv(sys.executable, [sys.executable, "-m", _MODULES[name], *arguments])
