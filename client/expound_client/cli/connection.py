"""The option that tells where the server is."""

import click

from expound_client.core import DEFAULT_ADDRESS

server_option = click.option(
    "--server",
    "address",
    metavar="HOST:PORT",
    default=DEFAULT_ADDRESS,
    envvar="EXPOUND_SERVER",
    show_default=True,
    show_envvar=True,
    help="Address of the server.",
)
