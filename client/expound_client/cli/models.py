"""`expound models`: which models can be explained."""

import click
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from expound_client.cli.connection import Connection, connection_options
from expound_client.cli.console import plain_console


@click.command()
@connection_options
def models(connection: Connection) -> None:
    """List the models that the live workers serve."""
    with connection.open() as client:
        cards = client.models()
    # Names stay in one piece where the terminal is narrow, for other commands ask for them.
    rest = ("version", "input", "classes", "parameters", "device", "dtype")
    table = Table(
        Column("model", no_wrap=True),
        *(Column(heading, overflow="fold") for heading in rest),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for card in cards:
        table.add_row(
            card.name,
            card.version,
            "x".join(map(str, card.input_shape)),
            f"{card.class_count:,}",
            f"{card.parameter_count:,}",
            card.device,
            card.dtype,
        )
    plain_console().print(table if cards else "No live worker serves a model.")
