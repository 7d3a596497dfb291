"""What the methods can do on a model, as tables."""

from rich.table import Column, Table
from rich.text import Text

from expound_client.methods import METHODS
from expound_client.models import Capability, Support

_SHOWN = {
    Support.UNSPECIFIED: Text("not known yet", "dim"),
    Support.SUPPORTED: Text("supported", "green"),
    Support.APPROXIMATE: Text("approximate", "yellow"),
    Support.UNSUPPORTED: Text("unsupported", "red"),
}


def capability_tables(capabilities: dict[str, Capability]) -> tuple[Table, Table]:
    """What is known of each method, and below it the reasons by their numbers, from 1."""
    reasons = _reasons(capabilities)
    table = Table("method", "support", Column("error", justify="right"), "why, below")
    for name in METHODS:
        known = capabilities.get(name)
        if known is None:
            table.add_row(name, Text("not implemented yet", "dim"))
        else:
            error = "" if known.error is None else f"{known.error:.2g}"
            why = str(reasons.index(known.reason) + 1) if known.reason else ""
            table.add_row(name, _SHOWN[known.support], error, why)
    notes = Table.grid(Column(justify="right"), "", padding=(0, 1))
    for number, reason in enumerate(reasons, start=1):
        notes.add_row(str(number), Text(reason))
    return table, notes


def _reasons(capabilities: dict[str, Capability]) -> list[str]:
    """The reasons in the order of the methods, each once: many methods share theirs."""
    told = (capabilities[name].reason for name in METHODS if name in capabilities)
    return list(dict.fromkeys(filter(None, told)))
