"""How maps are sent: as a caller asks for them, whole and small, few and many."""

import numpy as np

from expound_client import AsyncClient, Client, ExplanationResult
from expound_client import methods as m
from tests import photos
from tests.processes import wait_until
from tests.service import Server, Service

METHODS = [m.Saliency(), m.GradCam(), m.Lime(n_samples=100)]


def test_maps_sent_as_pictures_are_those_sent_as_tensors(client: Client) -> None:
    whole, small = (
        client.explain(
            photos.chelsea(), model="efficientnet_lite0", methods=METHODS, encoding=encoding
        )
        for encoding in ("tensor", "png")
    )
    expected, found = whole.result(120), small.result(120)
    for key in expected:
        values = expected[key].values
        values = values.sum(axis=0) if values.ndim == 3 else values
        assert found[key].values.shape == values.shape
        assert np.abs(found[key].values - values).max() <= 0.51 * np.abs(values).max() / 127
    assert found["saliency"].heatmap().size == (224, 224)
    assert np.allclose(np.asarray(found["lime"].weights), np.asarray(expected["lime"].weights))


async def test_maps_of_many_images_are_there_however_little_a_message_holds(
    service: Service, client: Client
) -> None:
    """A map of saliency takes 600 kB, of which a message holds three."""
    images = [photos.chelsea()] * 4
    with Server(service.redis.url, max_message_bytes=2**21) as server:
        wait_until(server.serving, "the server of small messages", 60)
        with Client(server.address) as small:
            asked = small.explain(images, model="efficientnet_lite0", methods=METHODS)
            results = [asked.result(120)]
        async with AsyncClient(server.address) as small_async:
            results.append(await (await small_async.get(asked.name)).result(120))
    expected = _maps(client.get(asked.name).result(120))
    assert len(expected) == len(images) * len(METHODS)
    assert [_maps(result) for result in results] == [expected] * 2


def _maps(result: ExplanationResult) -> list[tuple[str, int, bytes]]:
    """The bytes of all maps of a result."""
    return [
        (key, each.input_index, each.values.tobytes())
        for key in result
        for each in result.attributions(key)
    ]
