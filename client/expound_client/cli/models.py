"""`expound models`: which models can be explained, or one of them in full."""

from collections.abc import Sequence

import click
from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.table import Column, Table
from rich.text import Text

from expound_client.cli.capabilities import capability_tables
from expound_client.cli.connection import Connection, connection_options
from expound_client.cli.console import plain_console
from expound_client.models import Layer, Model


@click.command()
@click.argument("name", required=False)
@connection_options
def models(connection: Connection, name: str | None) -> None:
    """List the models that the live workers serve, or show the one of that NAME in full."""
    console = plain_console()
    with connection.open() as client:
        if name is None:
            cards = client.models()
            console.print(_list(cards) if cards else "No live worker serves a model.")
            return
        card = client.model(name)
    console.print(_facts(card))
    console.print(*capability_tables(card.capabilities), sep="\n")
    console.print(_layers(card.layers))
    labels = [Text(f"{index} {label}") for index, label in enumerate(card.labels)]
    console.print("Labels" if labels else "It has no labels.")
    console.print(Columns(labels, padding=(0, 2), column_first=True))


def _list(cards: Sequence[Model]) -> Table:
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
            _shape(card.input_shape),
            f"{card.class_count:,}",
            f"{card.parameter_count:,}",
            card.device,
            card.dtype,
        )
    return table


def _facts(card: Model) -> Table:
    table = Table.grid("", Column(overflow="fold"), padding=(0, 2, 0, 0))
    for heading, fact in (
        ("model", card.name),
        ("version", card.version),
        ("digest", card.digest),
        ("pool", card.pool),
        ("input", _shape(card.input_shape)),
        ("preprocessing", card.preprocessing_description),
        ("classes", f"{card.class_count:,}"),
        ("parameters", f"{card.parameter_count:,}"),
        ("device", card.device),
        ("dtype", card.dtype),
    ):
        table.add_row(heading, Text(fact))
    return table


def _layers(layers: Sequence[Layer]) -> Table:
    table = Table(
        Column("layer", no_wrap=True),
        Column("kind", overflow="fold"),
        Column("output", no_wrap=True),
        "",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for layer in layers:
        default = "default" if layer.default else ""
        table.add_row(layer.name, layer.kind, _shape(layer.output_shape), default)
    return table


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
