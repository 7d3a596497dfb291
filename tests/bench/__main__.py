"""Runs the benchmarks: ``python -m tests.bench [NAME...]``; ``--help`` lists the names.

Prints a table for each and writes the rows to ``tests/bench/results/MACHINE.json``. Machines are
shared and noisy: each row compares things that were measured in turns in one run, and what counts
is the ratio.
"""

import json
import os
import platform
from pathlib import Path

import click
import torch

from expound_client import Client, Support
from expound_worker.process.memory import keep_freed_memory
from tests.bench import (
    callers,
    deep_lift,
    estimators,
    interference,
    perturbation,
    reuse,
    round_trip,
    throughput,
    watchers,
)
from tests.bench.table import Table
from tests.processes import wait_until
from tests.service import Service

BENCHMARKS = {
    "round_trip": round_trip.run,
    "perturbation": perturbation.run,
    "throughput": throughput.run,
    "deep_lift": deep_lift.run,
    "callers": callers.run,
    "interference": interference.run,
    "reuse": reuse.run,
    "watchers": watchers.run,
    "estimators": estimators.run,
}


@click.command(help=__doc__)
@click.argument("benchmarks", nargs=-1, type=click.Choice([*BENCHMARKS]))
def main(benchmarks: tuple[str, ...]) -> None:
    """Runs the chosen benchmarks, or all."""
    tables: list[Table] = []
    # The floors are measured under the worker's own conditions.
    keep_freed_memory()
    with Service() as service:
        wait_until(lambda: _probed(service), "the models being probed", 300)
        for name in benchmarks or BENCHMARKS:
            for table in BENCHMARKS[name](service):
                table.print()
                tables.append(table)
    _write(tables)


def _probed(service: Service) -> bool:
    """Whether the worker is done with what it does behind its first requests."""
    with Client(service.address) as client:
        return all(
            capability.support is not Support.UNSPECIFIED
            for model in client.models()
            for capability in model.capabilities.values()
        )


def _write(tables: list[Table]) -> None:
    path = Path(__file__).parent / "results" / f"{_machine()}.json"
    written = json.loads(path.read_text()) if path.exists() else {}
    for table in tables:
        written[table.name] = table.rows
    path.write_text(json.dumps(written, indent=2) + "\n")
    print(f"written to {path.relative_to(Path.cwd())}")


def _machine() -> str:
    device = torch.cuda.get_device_name().replace(" ", "-") if torch.cuda.is_available() else "cpu"
    return f"{platform.machine()}-{os.cpu_count()}-cores-{device}"


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
