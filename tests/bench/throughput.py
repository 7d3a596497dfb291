"""Requests a second with 1, 8 and 32 callers beside Captum in process, serial and in batches."""

import time
from concurrent.futures import ThreadPoolExecutor

from expound_client import Client
from expound_client import methods as m
from tests import photos
from tests.bench.notebook import Gradient, captum_rate
from tests.bench.table import Row, Table
from tests.service import Service

CALLERS = (1, 8, 32)
BATCHES = {"saliency": (8, 32), "integrated_gradients": (2, 4)}
LEAST_S = 6.0


def run(service: Service) -> list[Table]:
    """One row a model and method; every figure but the ratios is requests a second."""
    table = Table("throughput", "Requests a second, each of one image")
    for model in ("cifar", "efficientnet_lite0"):
        for method in (m.Saliency(), m.IntegratedGradients(n_steps=50)):
            table.rows.append(_row(service, model, method))
    return [table]


def _row(service: Service, model: str, method: Gradient) -> Row:
    serial = captum_rate(model, method, 5)
    batched = [captum_rate(model, method, 3, images) for images in BATCHES[method.name]]
    best = max(serial, *batched)
    row: Row = {
        "model": model,
        "method": method.name,
        "captum loop /s": serial,
        "captum batched /s": best,
    }
    for callers in CALLERS:
        row[f"{callers} callers /s"] = _rate(service, model, method, callers)
    row["32 callers / captum"] = float(row["32 callers /s"]) / serial
    row["32 callers / batched"] = float(row["32 callers /s"]) / best
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
