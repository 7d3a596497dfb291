"""Saliency while other work runs, and how soon LIME shows something."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from expound_client import Client, Event, Explanation, MethodProgressed, MethodStateChanged, State
from expound_client import methods as m
from expound_client.method import Method
from tests import photos
from tests.bench.table import Row, Table, columns, seconds
from tests.service import Service

JOBS = 4
REQUESTS = 200
ROUNDS = 3
PERCENTILES = (50, 95, 99)
TIMES = 7
MODEL = "cifar"


def run(service: Service) -> list[Table]:
    """The latency of saliency beside others' work, and LIME's first partial map."""
    with Client(service.address) as client:
        return [_beside_others(client), _first_partial(client)]


def _beside_others(client: Client) -> Table:
    table = Table("interference", f"Saliency on the CIFAR network, {ROUNDS} rounds of {REQUESTS}")
    latencies: dict[str, list[list[float]]] = {}
    for _ in range(ROUNDS):
        for what, begin in _OTHERS.items():
            with ExitStack() as jobs:
                begin(client, jobs)
                latencies.setdefault(what, []).append(_latencies_ms(client))
    table.rows += [_row(what, rounds) for what, rounds in latencies.items()]
    return table


def _lime_jobs(client: Client, jobs: ExitStack) -> None:
    for seed in range(JOBS):
        _first_times(_begun(m.Lime(n_samples=100_000), seed, client, jobs).watch())


def _integrated_gradients(client: Client, jobs: ExitStack) -> None:
    noise = m.NoiseTunnel(n_samples=1000)
    long = m.IntegratedGradients(n_steps=500, noise_tunnel=noise)
    _wait_for_its_beginning(_begun(long, 0, client, jobs))


_OTHERS: dict[str, Callable[[Client, ExitStack], None]] = {
    "idle": lambda client, jobs: None,
    f"{JOBS} LIME jobs": _lime_jobs,
    "integrated gradients": _integrated_gradients,
}


def _begun(method: Method, seed: int, client: Client, jobs: ExitStack) -> Explanation:
    """An explanation that goes on until the stack is left."""
    job = client.explain(photos.encoded(MODEL), model=MODEL, methods=[method], seed=seed)
    jobs.callback(job.cancel)
    return job


def _wait_for_its_beginning(job: Explanation) -> None:
    for event in job.watch():
        if isinstance(event, MethodStateChanged) and event.state is State.RUNNING:
            return
    raise RuntimeError("its method never ran")


def _row(what: str, rounds: list[list[float]]) -> Row:
    row: Row = {"beside": what}
    for percent in PERCENTILES:
        values = [each[round(percent / 100 * (len(each) - 1))] for each in rounds]
        row |= columns(f"p{percent}", "ms", values)
    return row


def _latencies_ms(client: Client) -> list[float]:
    image = photos.encoded(MODEL)

    def ask() -> None:
        client.explain(image, model=MODEL, methods=["saliency"], wait_s=60).result(60)

    ask()
    return sorted(seconds(ask) * 1e3 for _ in range(REQUESTS))


def _first_partial(client: Client) -> Table:
    table = Table("first_partial", "LIME's first partial map with error bars")
    for model, n_samples in (("cifar", 20_000), ("efficientnet_lite0", 1000)):
        times_s = [_first_partial_s(client, model, n_samples, seed) for seed in range(TIMES)]
        table.rows.append({"model": model, **columns("from the job's start", "s", times_s)})
    return table


def _first_partial_s(client: Client, model: str, n_samples: int, seed: int) -> float:
    lime = m.Lime(n_samples=n_samples)
    job = client.explain(photos.encoded(model), model=model, methods=[lime], seed=seed)
    started_s, partial_s = _first_times(job.watch())
    job.cancel()
    return partial_s - started_s


def _first_times(events: Iterator[Event]) -> tuple[float, float]:
    started_s = 0.0
    for event in events:
        if isinstance(event, MethodStateChanged) and event.state is State.RUNNING:
            started_s = event.time.timestamp()
        if isinstance(event, MethodProgressed) and event.partials:
            return started_s, event.time.timestamp()
    raise RuntimeError("LIME ended without a partial map")
