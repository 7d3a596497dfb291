"""What `expound explain` writes: a picture of its own for each map."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from expound.v1 import explanation_pb2
from expound_client.cli.outputs import result_table, write
from expound_client.images import SeenImages
from expound_client.results import ExplanationResult
from tests.client import canned

LONG = "a label that is longer than forty letters, "


def explained(
    *labels: str,
    images: int = 1,
    keys: Sequence[str] = ("saliency",),
    reused: Sequence[int] = (),
) -> ExplanationResult:
    """Saliency under each key of each label, class 0 onwards, for each image."""
    message = explanation_pb2.Explanation(name=canned.NAME, state=explanation_pb2.STATE_SUCCEEDED)
    message.request.model = "models/small"
    message.predictions.extend([canned.prediction()] * images)
    message.reused = len(reused) == len(keys)
    for number, key in enumerate(keys):
        message.request.methods.add(key=key).saliency.SetInParent()
        result = message.results.add(key=key, method="saliency", state=message.state)
        result.reused = number in reused
        for input_index in range(images):
            for index, label in enumerate(labels):
                made = canned.attribution("saliency")
                made.input_index = input_index
                made.target.index = index
                made.target.label = label
                result.attributions.append(made)
    return ExplanationResult.from_proto(message, SeenImages([], None))


@pytest.mark.parametrize(
    ("reused", "told"),
    [([], ""), ([1], " (answered before: ig)"), ([0, 1], " (answered before)")],
)
def test_the_table_tells_what_was_answered_before(reused: list[int], told: str) -> None:
    result = explained("tabby", keys=("saliency", "ig"), reused=reused)
    assert result_table(result, ["photo.png"]).title == f"small: {canned.NAME}{told}"


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


def test_keys_that_are_written_alike_are_told_apart_by_their_number(tmp_path: Path) -> None:
    written = write(explained("tabby", keys=("my-1", "my.1")), ["photo.png"], [], tmp_path)
    pictures = ["photo_my_1_tabby-0-1.png", "photo_my_1_tabby-0-2.png"]
    assert [path.name for path in written] == [*pictures, "grid.png", "report.html"]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("integrated_gradients", "integrated_gradients"),
        ("a/../../../b", "a_b"),
        ("/../mine", "mine"),
        ("a\\b:c", "a_b_c"),
        ("k" * 300, "k" * 40),
    ],
)
def test_pictures_lie_in_the_folder_whatever_the_key(tmp_path: Path, key: str, name: str) -> None:
    folder = tmp_path / "x" / "y"
    (folder / "photo_a").mkdir(parents=True)
    written = write(explained("tabby", keys=[key]), ["photo.png"], [], folder)
    assert written[0] == folder / f"photo_{name}_tabby.png"
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)
