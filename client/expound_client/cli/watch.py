"""`expound watch`: how far an explanation is."""

import asyncio

import click

from expound_client.aio import AsyncClient
from expound_client.cli.connection import server_option
from expound_client.cli.progress import follow
from expound_client.results import State


@click.command()
@click.argument("name")
@server_option
def watch(name: str, address: str) -> int:
    """Show the progress of an explanation until it ends."""
    state = asyncio.run(_watch(name, address))
    return 0 if state == State.SUCCEEDED else 1


async def _watch(name: str, address: str) -> State:
    async with AsyncClient(address) as client:
        explanation = await client.get(name)
        await follow(explanation)
    click.echo(f"{explanation.name} {explanation.state.lower()}")
    return explanation.state
