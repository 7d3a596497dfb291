"""Round trip of a saliency request beside a Celery task that returns at once."""

from expound_client import Client
from tests import photos
from tests.bench.bare_task import bare_worker, call
from tests.bench.table import Row, Table, columns, in_turns, median, milliseconds
from tests.service import Service

ROUNDS = {"cifar": 300, "efficientnet_lite0": 30}


def run(service: Service) -> list[Table]:
    """One row a model: the whole request through gRPC, Celery and Redis, in one call."""
    table = Table("round_trip", "Round trip, one caller: a saliency request beside a bare task")
    with bare_worker(service.redis.url), Client(service.address) as client:
        for model in ("cifar", "efficientnet_lite0"):
            table.rows.append(_row(client, model))
    return [table]


def _row(client: Client, model: str) -> Row:
    image = photos.encoded(model)

    def explain() -> None:
        client.explain(image, model=model, methods=["saliency"], wait_s=30).result(30)

    measured = in_turns({"task": call, "saliency": explain}, ROUNDS[model])
    task, saliency = (milliseconds(measured[name]) for name in ("task", "saliency"))
    return {
        "model": model,
        **columns("bare task", "ms", task),
        **columns("saliency", "ms", saliency),
        "ratio": median(saliency) / median(task),
    }
