"""What `expound explain` writes: a picture of its own for each map."""

from pathlib import Path

import pytest

from expound.v1 import explanation_pb2
from expound_client.cli.outputs import write
from expound_client.images import SeenImages
from expound_client.results import ExplanationResult
from tests.client import canned

LONG = "a label that is longer than forty letters, "


def explained(*labels: str, images: int = 1) -> ExplanationResult:
    """Saliency of each label, class 0 onwards, for each image."""
    message = explanation_pb2.Explanation(name=canned.NAME, state=explanation_pb2.STATE_SUCCEEDED)
    message.predictions.extend([canned.prediction()] * images)
    message.request.methods.add(key="saliency").saliency.SetInParent()
    result = message.results.add(key="saliency", method="saliency", state=message.state)
    for input_index in range(images):
        for index, label in enumerate(labels):
            made = canned.attribution("saliency")
            made.input_index = input_index
            made.target.index = index
            made.target.label = label
            result.attributions.append(made)
    return ExplanationResult.from_proto(message, SeenImages([], None))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["tabby", "lynx"], ["tabby", "lynx"]),
        (["red panda", "lynx"], ["red_panda", "lynx"]),
        (["crane", "crane", "lynx"], ["crane-0", "crane-1", "lynx"]),
        (["red panda", "red-panda"], ["red_panda-0", "red_panda-1"]),
        (["crane", "crane", "crane 1"], ["crane-0", "crane-1", "crane_1"]),
        (
            [LONG + "first", LONG + "second"],
            [
                "a_label_that_is_longer_than_forty_letter-0",
                "a_label_that_is_longer_than_forty_letter-1",
            ],
        ),
    ],
)
def test_labels_that_are_written_alike_are_told_apart_by_their_class(
    tmp_path: Path, labels: list[str], names: list[str]
) -> None:
    written = write(explained(*labels), ["photo.png"], [], tmp_path)
    pictures = [f"photo_saliency_{name}.png" for name in names]
    assert [path.name for path in written] == [*pictures, "grid.png", "report.html"]
    assert set(tmp_path.iterdir()) == set(written)


def test_one_image_given_twice_has_pictures_for_each(tmp_path: Path) -> None:
    written = write(explained("tabby", images=2), ["photo.png"] * 2, [], tmp_path)
    pictures = ["1_photo_saliency_tabby.png", "2_photo_saliency_tabby.png"]
    assert [path.name for path in written] == [*pictures, "grid.png", "report.html"]
