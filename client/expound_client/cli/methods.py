"""`expound methods`: which methods there are, and what they can do on a model."""

from collections.abc import Iterator
from typing import cast

import click
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from rich.table import Column, Table
from rich.text import Text

from expound import parameters
from expound.v1 import method_pb2
from expound_client.cli.connection import Connection, connection_options
from expound_client.cli.console import plain_console
from expound_client.cli.method_option import members
from expound_client.method import choices
from expound_client.methods import METHODS
from expound_client.models import Capability, Support

_SHOWN = {
    Support.UNSPECIFIED: Text("not known yet", "dim"),
    Support.SUPPORTED: Text("supported", "green"),
    Support.APPROXIMATE: Text("approximate", "yellow"),
    Support.UNSUPPORTED: Text("unsupported", "red"),
}
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
    reasons = _reasons(card.capabilities)
    console.print(_capabilities(card.capabilities, reasons))
    notes = Table.grid(Column(justify="right"), "", padding=(0, 1))
    for number, reason in enumerate(reasons, start=1):
        notes.add_row(str(number), Text(reason))
    console.print(notes)


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


def _reasons(capabilities: dict[str, Capability]) -> list[str]:
    """The reasons in the order of the methods, each once: many methods share theirs."""
    told = (capabilities[name].reason for name in METHODS if name in capabilities)
    return list(dict.fromkeys(filter(None, told)))


def _capabilities(capabilities: dict[str, Capability], reasons: list[str]) -> Table:
    """What is known of each method; its reason by the number that it has in `reasons`, from 1."""
    table = Table("method", "support", Column("error", justify="right"), "why, below")
    for name in METHODS:
        known = capabilities.get(name)
        if known is None:
            table.add_row(name, Text("not implemented yet", "dim"))
        else:
            error = "" if known.error is None else f"{known.error:.2g}"
            why = str(reasons.index(known.reason) + 1) if known.reason else ""
            table.add_row(name, _SHOWN[known.support], error, why)
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
