"""Requests a second with 1, 8 and 32 callers beside Captum in process, serial and in batches."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from expound_client import Client
from expound_client import methods as m
from tests import photos
from tests.bench.notebook import Gradient, fastest
from tests.bench.table import Row, Table, columns, median, values_in_turns
from tests.service import Service

CALLERS = (1, 8, 32)
BATCHES = (1, 2, 4, 8, 16, 32)
ROUNDS = 3
LEAST_S = 2.0


def run(service: Service) -> list[Table]:
    """One row a model and method; all are measured in turns."""
    table = Table("throughput", "Requests a second, each of one image")
    for model in ("cifar", "efficientnet_lite0"):
        for method in (m.Saliency(), m.IntegratedGradients(n_steps=50)):
            table.rows.append(_row(service, model, method))
    return [table]


def _row(service: Service, model: str, method: Gradient) -> Row:
    loop, batches = fastest(model, method), fastest(model, method, BATCHES)
    rates = values_in_turns(
        {
            "captum loop": partial(loop.rate, LEAST_S),
            "captum batched": partial(batches.rate, LEAST_S),
            **{
                f"{callers} callers": partial(_rate, service, model, method, callers)
                for callers in CALLERS
            },
        },
        ROUNDS,
    )
    row: Row = {"model": model, "method": method.name, "best batch": batches.images}
    for name, values in rates.items():
        row |= columns(name, "/s", values)
    most = median(rates["32 callers"])
    row["32 callers / captum"] = most / median(rates["captum loop"])
    row["32 callers / batched"] = most / median(rates["captum batched"])
    return row


def _rate(service: Service, model: str, method: Gradient, callers: int) -> float:
    """Requests a second of so many callers, each sending its next when it has its answer."""
    image = photos.encoded(model)
    ends = time.perf_counter() + LEAST_S

    def call_on() -> int:
        done = 0
        with Client(service.address) as client:
            while done == 0 or time.perf_counter() < ends:
                client.explain(image, model=model, methods=[method], wait_s=300).result(300)
                done += 1
        return done

    start = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(call_on) for _ in range(callers)]
        done = sum(call.result() for call in calls)
    return done / (time.perf_counter() - start)
