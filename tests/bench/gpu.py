"""LIME and KernelSHAP of ResNet-50 on a GPU, beside its forward passes and the libraries' own."""

from expound_client import Client
from expound_client import methods as m
from tests import photos
from tests.bench.perturbation import best_forward, compare
from tests.bench.probed import probed_service
from tests.bench.table import Table
from tests.service import MODELS, Service

MODEL = "resnet50"
BATCH_SIZES = (16, 32, 64, 128, 256)


def run(
    service: Service, samples: int = 1000, rounds: int = 5, sizes: tuple[int, ...] = BATCH_SIZES
) -> list[Table]:
    """One row a method, by a service of its own; the share is that of the worker's wall time.

    Forward passes are those that the worker runs.
    """
    table = Table("gpu", f"ResNet-50 at 224 x 224, {samples} samples")
    with (
        probed_service(MODELS.with_name(f"{MODEL}.toml")) as own,
        Client(own.address) as client,
    ):
        floor = best_forward(MODEL, photos.model(MODEL).run, sizes)
        for method in (m.Lime(n_samples=samples), m.KernelShap(n_samples=samples)):
            row = compare(client, MODEL, method, floor, rounds)
            table.rows.append(
                {
                    **row,
                    "inside forward": 1 - float(row["outside forward"]),
                    "images /s": int(row["evaluations"]) / float(row["service s"]),
                    "library images /s": samples / float(row["library s"]),
                }
            )
    return [table]
