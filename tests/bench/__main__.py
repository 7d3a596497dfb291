"""Runs the benchmarks: ``python -m tests.bench [NAME...]``; ``--help`` lists the names.

Prints a table for each and writes the rows to ``tests/bench/results/MACHINE.json``. Machines are
shared and noisy: each row compares things that were measured in turns in one run, and what counts
is the ratio. Without names all are run; gpu only where there is one.
"""

import click
import torch

from expound_worker.process.memory import keep_freed_memory
from tests.bench import (
    callers,
    deep_lift,
    estimators,
    gpu,
    interference,
    perturbation,
    record,
    reuse,
    round_trip,
    throughput,
    watchers,
)
from tests.bench.probed import probed_service
from tests.bench.table import Table

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
    "gpu": gpu.run,
}


@click.command(help=__doc__)
@click.argument("benchmarks", nargs=-1, type=click.Choice([*BENCHMARKS]))
def main(benchmarks: tuple[str, ...]) -> None:
    """Runs the chosen benchmarks, or all."""
    has_gpu = torch.cuda.is_available()
    if "gpu" in benchmarks and not has_gpu:
        raise click.ClickException("gpu: there is no CUDA device here")
    chosen = benchmarks or [name for name in BENCHMARKS if name != "gpu" or has_gpu]
    tables: list[Table] = []
    # The floors are measured under the worker's own conditions.
    keep_freed_memory()
    torch.backends.cudnn.allow_tf32 = False
    with probed_service() as service:
        for name in chosen:
            for table in BENCHMARKS[name](service):
                table.print()
                tables.append(table)
    record.write(tables)


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
