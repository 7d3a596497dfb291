"""`expound watch`: how far an explanation is."""

import click

from expound_client.cli.connection import Connection, connection_options
from expound_client.cli.console import echo
from expound_client.cli.interrupts import run
from expound_client.cli.progress import follow
from expound_client.results import State


@click.command()
@click.argument("name")
@connection_options
def watch(connection: Connection, name: str) -> int:
    """Show the progress of an explanation until it ends."""
    state = run(_watch(name, connection))
    return 0 if state == State.SUCCEEDED else 1


async def _watch(name: str, connection: Connection) -> State:
    async with connection.open_aio() as client:
        explanation = await client.get(name)
        await follow(explanation)
    echo(f"{explanation.name} {explanation.state.lower()}")
    return explanation.state
