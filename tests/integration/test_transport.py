"""How maps are sent: as a caller asks for them, whole and small."""

import numpy as np

from expound_client import Client
from expound_client import methods as m
from tests import photos

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
