"""Bad images end as clear errors, and the service goes on."""

import io

import numpy as np
import pytest
from PIL import Image

from expound.reasons import Reason
from expound_client import Client, State
from expound_client.errors import ExplanationFailedError
from tests import photos
from tests.worker.test_images import huge_png

JPEG = photos.encoded("efficientnet_lite0")
BAD = {
    "text": b"this is no image",
    "truncated JPEG": JPEG[: len(JPEG) // 2],
    "60,000 x 60,000 PNG": huge_png(),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
}


def animated_gif() -> bytes:
    """The photo first, then noise."""
    frames = [Image.fromarray(photos.chelsea())]
    noise = np.random.default_rng(0).integers(0, 256, photos.chelsea().shape)
    frames.append(Image.fromarray(noise.astype(np.uint8)))
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_fails_with_its_field_and_the_service_goes_on(
    client: Client, name: str
) -> None:
    explanation = client.explain([JPEG, BAD[name]], model="cifar", methods=["saliency", "lime"])
    with pytest.raises(ExplanationFailedError) as raised:
        explanation.result(60)
    assert raised.value.reason is Reason.INVALID_IMAGE
    assert [violation.field for violation in raised.value.violations] == ["inputs[1].image"]
    again = client.explain(JPEG, model="cifar", methods=["saliency"]).result(60)
    assert again.state is State.SUCCEEDED


def test_of_an_animated_gif_the_first_frame_is_explained(client: Client) -> None:
    result = client.explain(animated_gif(), model="efficientnet_lite0", methods=["saliency"])
    assert "cat" in result.result(60)["saliency"].target.label
