"""The options that tell where the server is, and who calls."""

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from expound_client.aio import AsyncClient
from expound_client.client import Client
from expound_client.errors import UnavailableError
from expound_client.requests import DEFAULT_ADDRESS

_Result = TypeVar("_Result")

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option(
        "--server",
        "address",
        metavar="HOST:PORT",
        default=DEFAULT_ADDRESS,
        envvar="EXPOUND_SERVER",
        show_default=True,
        show_envvar=True,
        help="Address of the server.",
    ),
    click.option(
        "--tls/--no-tls",
        default=None,
        envvar="EXPOUND_TLS",
        show_envvar=True,
        help="Whether the connection is encrypted. Default: with any of the next four.",
    ),
    click.option(
        "--ca",
        type=_FILE,
        envvar="EXPOUND_CA",
        show_envvar=True,
        help="PEM file of the authorities that are believed about the server.",
    ),
    click.option(
        "--cert",
        type=_FILE,
        envvar="EXPOUND_CERT",
        show_envvar=True,
        help="PEM file of your certificate.",
    ),
    click.option(
        "--key", type=_FILE, envvar="EXPOUND_KEY", show_envvar=True, help="PEM file of its key."
    ),
    click.option(
        "--token-file",
        type=_FILE,
        envvar="EXPOUND_TOKEN_FILE",
        show_envvar=True,
        help="File of your bearer token; or the token itself in EXPOUND_TOKEN.",
    ),
)


@dataclass(frozen=True)
class Connection:
    """Where the server is, and who calls."""

    address: str
    tls: bool | None
    ca: Path | None
    cert: Path | None
    key: Path | None
    token_file: Path | None

    def open(self) -> Client:
        """Makes a client."""
        return Client(self.address, **self._security())

    def open_aio(self) -> AsyncClient:
        """Makes a client, within a running event loop."""
        return AsyncClient(self.address, **self._security())

    def _security(self) -> dict[str, Any]:
        return {
            "tls": self.tls,
            "ca": self.ca,
            "cert": self.cert,
            "key": self.key,
            "token": self._token(),
        }

    def _token(self) -> str | None:
        # No option holds the token itself: arguments can be read by every user of the machine.
        if self.token_file is not None:
            return self.token_file.read_text().strip()
        return os.environ.get("EXPOUND_TOKEN") or None


def connection_options(command: Callable[..., _Result]) -> Callable[..., _Result]:
    """Gives a command the options, and the connection that they mean as its first argument."""

    @wraps(command)
    def connected(*arguments: Any, **options: Any) -> _Result:
        connection = Connection(
            **{field.name: options.pop(field.name) for field in fields(Connection)}
        )
        try:
            return command(connection, *arguments, **options)
        except UnavailableError as error:
            if error.reason is not None:  # it is a server that says so
                raise
            raise UnavailableError(
                f"no server could be reached at {connection.address}: {error}\n"
                "Start one with `expound up`, or name another with --server HOST:PORT."
            ) from error

    for option in reversed(_OPTIONS):
        connected = option(connected)
    return connected
