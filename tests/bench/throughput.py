"""Requests a second with 1, 8 and 32 callers beside a serial Captum loop in process."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import captum.attr

from expound_client import Client
from expound_client import methods as m
from tests import photos
from tests.bench.table import Row, Table, in_turns, median
from tests.service import Service

CALLERS = (1, 8, 32)
LEAST_S = 6.0


def run(service: Service) -> list[Table]:
    """One row a model and method; every figure but the ratios is requests a second."""
    table = Table("throughput", "Requests a second, each of one image")
    for model in ("cifar", "efficientnet_lite0"):
        for method in (m.Saliency(), m.IntegratedGradients(n_steps=50)):
            table.rows.append(_row(service, model, method))
    return [table]


def _row(service: Service, model: str, method: m.Saliency | m.IntegratedGradients) -> Row:
    serial = in_turns({"captum": _captum(model, method)}, 5)["captum"]
    row: Row = {"model": model, "method": method.name, "captum loop /s": 1 / median(serial)}
    for callers in CALLERS:
        row[f"{callers} callers /s"] = _rate(service, model, method, callers)
    row["32 callers / captum"] = float(row["32 callers /s"]) / float(row["captum loop /s"])
    return row


def _rate(
    service: Service, model: str, method: m.Saliency | m.IntegratedGradients, callers: int
) -> float:
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


def _captum(model: str, method: m.Saliency | m.IntegratedGradients) -> Callable[[], object]:
    """What a notebook does for one image: preprocess, predict, attribute."""
    module, photo = photos.model(model).module, photos.resized(model)

    def loop() -> None:
        image = photos.model_input(model, photo).requires_grad_()
        target = int(module(image).argmax())
        if isinstance(method, m.Saliency):
            captum.attr.Saliency(module).attribute(image, target=target)
        else:
            integrated = captum.attr.IntegratedGradients(module)
            integrated.attribute(image, target=target, n_steps=50)

    return loop
