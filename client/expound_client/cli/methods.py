"""`expound methods`: which methods there are, and what they can do on a model."""

from collections.abc import Iterator
from typing import cast

import click
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from rich.table import Table
from rich.text import Text

from expound import parameters
from expound.v1 import method_pb2
from expound_client.cli.capabilities import capability_tables
from expound_client.cli.connection import Connection, connection_options
from expound_client.cli.console import plain_console
from expound_client.cli.method_option import members
from expound_client.method import choices
from expound_client.methods import METHODS

_PARTS = (method_pb2.Segmentation, method_pb2.Baseline, method_pb2.NoiseTunnel)


@click.command()
@click.option("--model", metavar="MODEL", help="Tell what each method can do on this model.")
@connection_options
def methods(connection: Connection, model: str | None) -> None:
    """List the methods with their parameters, defaults and ranges."""
    console = plain_console()
    if model is None:
        console.print(_catalogue())
        console.print(_parts())
        return
    with connection.open() as client:
        card = client.model(model)
    console.print(f"{card.name}, version {card.version}: {card.preprocessing_description}")
    console.print(*capability_tables(card.capabilities), sep="\n")


def _catalogue() -> Table:
    table = Table("method", "what it is", "parameters", title="Methods", show_lines=True)
    for field in parameters.method_fields():
        summary = (METHODS[field.name].__doc__ or "").partition("\n")[0]
        message = cast(Descriptor, field.message_type)
        table.add_row(field.name, summary, Text("\n".join(_parameters(message))))
    return table


def _parts() -> Table:
    table = Table("part", "choice", "parameters", title="Parts of methods", show_lines=True)
    for part in _PARTS:
        names = members(part.DESCRIPTOR) if part is not method_pb2.NoiseTunnel else []
        for name in names:
            message = cast(Descriptor, part.DESCRIPTOR.fields_by_name[name].message_type)
            table.add_row(part.DESCRIPTOR.name, name, Text("\n".join(_parameters(message))))
        if not names:
            table.add_row(part.DESCRIPTOR.name, "", Text("\n".join(_parameters(part.DESCRIPTOR))))
    return table


def _parameters(message: Descriptor) -> Iterator[str]:
    """One line a parameter: ``n_samples=1000 (from 10 to 100000 evaluations)``."""
    for field in cast(list[FieldDescriptor], list(message.fields)):
        default = parameters.default(field)
        if field.enum_type is not None:
            names = choices(field.enum_type)
            default = next(name for name, number in names.items() if number == default)
            allowed = ", ".join(names)
        else:
            allowed = parameters.allowed(field)
        written = "" if default is None else f"={str(default).lower()}"
        yield f"{field.name}{written} ({allowed})" if allowed else f"{field.name}{written}"
