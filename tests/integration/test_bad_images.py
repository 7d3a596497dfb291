"""Bad images end as clear errors, and the service goes on."""

import numpy as np
import pytest

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


def test_pixels_sent_as_floats_are_explained_with_a_warning(client: Client) -> None:
    image = np.full((3, 32, 32), 255.0, np.float32)
    explanation = client.explain([JPEG, image], model="cifar", methods=["saliency", "rise"])
    result = explanation.result(60)
    for method in ("saliency", "rise"):
        for attribution in result.methods[method].attributions:
            warned = [text for text in attribution.warnings if "uint8" in text]
            assert len(warned) == attribution.input_index
