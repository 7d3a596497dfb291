"""`deterministic`: the same bytes from the same worker, whatever else it works on."""

from expound_client import Client, ExplanationResult
from expound_client import methods as m
from expound_client.method import Method
from tests import photos

METHODS: list[str | Method] = ["saliency", m.IntegratedGradients(n_steps=10), m.Lime(n_samples=300)]
ROUNDS = 3


def _maps(result: ExplanationResult) -> dict[str, bytes]:
    return {key: attribution.values.tobytes() for key, attribution in result.items()}


def test_an_answer_has_the_same_bytes_whoever_asks_beside_it(client: Client) -> None:
    """Among requests that would share its batches, and jobs that would fill up its chunks."""
    photo, others = photos.chelsea(), [photos.chelsea()[:, ::-1].copy() for _ in range(6)]

    def ask() -> ExplanationResult:
        asked = client.explain(photo, model="cifar", methods=METHODS, deterministic=True)
        return asked.result(120)

    alone = _maps(ask())
    for _ in range(ROUNDS):
        beside = [client.explain(other, model="cifar", methods=METHODS) for other in others]
        assert _maps(ask()) == alone
        for explanation in beside:
            explanation.result(120)
