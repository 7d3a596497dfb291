"""Saliency while LIME jobs run, and how soon LIME shows something."""

from collections.abc import Iterator
from contextlib import ExitStack

from expound_client import Client, Event, MethodProgressed, MethodStateChanged, State
from expound_client import methods as m
from tests import photos
from tests.bench.table import Row, Table, seconds
from tests.service import Service

JOBS = 4
REQUESTS = 200
MODEL = "cifar"


def run(service: Service) -> list[Table]:
    """The latency of saliency beside four LIME jobs, and LIME's first partial map."""
    with Client(service.address) as client:
        return [_beside_lime(client), _first_partial(client)]


def _beside_lime(client: Client) -> Table:
    table = Table("interference", f"Saliency on the CIFAR network, {REQUESTS} requests, ms")
    idle = _latencies_ms(client)
    long = m.Lime(n_samples=100_000)
    with ExitStack() as jobs:
        for seed in range(JOBS):
            job = client.explain(photos.encoded(MODEL), model=MODEL, methods=[long], seed=seed)
            jobs.callback(job.cancel)
            _first_times(job.watch())
        busy = _latencies_ms(client)
    for name, latencies in (("idle", idle), (f"{JOBS} LIME jobs", busy)):
        row: Row = {"beside": name}
        for percent in (50, 95, 99):
            row[f"p{percent}"] = latencies[round(percent / 100 * (len(latencies) - 1))]
        table.rows.append(row)
    return table


def _latencies_ms(client: Client) -> list[float]:
    image = photos.encoded(MODEL)

    def ask() -> None:
        client.explain(image, model=MODEL, methods=["saliency"], wait_s=60).result(60)

    ask()
    return sorted(seconds(ask) * 1e3 for _ in range(REQUESTS))


def _first_partial(client: Client) -> Table:
    table = Table("first_partial", "LIME's first partial map with error bars")
    for model, n_samples in (("cifar", 20_000), ("efficientnet_lite0", 1000)):
        lime = m.Lime(n_samples=n_samples)
        job = client.explain(photos.encoded(model), model=model, methods=[lime])
        started_s, partial_s = _first_times(job.watch())
        job.cancel()
        table.rows.append({"model": model, "seconds from the job's start": partial_s - started_s})
    return table


def _first_times(events: Iterator[Event]) -> tuple[float, float]:
    started_s = 0.0
    for event in events:
        if isinstance(event, MethodStateChanged) and event.state is State.RUNNING:
            started_s = event.time.timestamp()
        if isinstance(event, MethodProgressed) and event.partials:
            return started_s, event.time.timestamp()
    raise RuntimeError("LIME ended without a partial map")
