"""A repeated question beside the smallest call there is."""

from expound_client import Client
from tests import photos
from tests.bench.table import Table, columns, in_turns, median, milliseconds
from tests.processes import wait_until
from tests.service import Server, Service

ROUNDS = 300


def run(service: Service) -> list[Table]:
    """The round trip of an answer that is there already, beside that of `GetModel`."""
    table = Table("reuse", "Round trip of a reused answer (CIFAR, saliency) beside GetModel")
    image = photos.encoded("cifar")
    with Server(service.redis.url, max_reuse_age_s=3600.0) as server:
        wait_until(server.serving, "the second server")
        with Client(server.address) as client:

            def ask() -> None:
                answer = client.explain(image, model="cifar", methods=["saliency"], wait_s=30)
                answer.result(30)

            measured = in_turns({"card": lambda: client.model("cifar"), "reused": ask}, ROUNDS)
    card, reused = (milliseconds(measured[name]) for name in ("card", "reused"))
    table.rows.append(
        {
            **columns("GetModel", "ms", card),
            **columns("reused", "ms", reused),
            "ratio": median(reused) / median(card),
        }
    )
    return [table]
