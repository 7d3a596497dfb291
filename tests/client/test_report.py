"""The report and the notebook displays: whole, self-contained and escaped."""

import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from expound.tensors import to_tensor
from expound.v1 import explanation_pb2
from expound_client.errors import InvalidArgumentError
from expound_client.images import SeenImages
from expound_client.inputs import to_inputs
from expound_client.models import Model
from expound_client.report import to_html
from expound_client.result_grid import legend
from expound_client.results import ExplanationResult, MethodResult, Provenance
from tests.client import canned


class Page(HTMLParser):
    """What a page holds: its text, and the sources of its images; fails on open elements."""

    _VOID = frozenset({"meta", "img"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text = ""
        self.images: list[str] = []
        self.descriptions = ""
        self.tags: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self._VOID:
            self._open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
            self.descriptions += f"{dict(attrs)['alt']}\n"

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def made(*, known: bool = True, label: str = "tabby") -> ExplanationResult:
    message = explanation_pb2.Explanation(name=canned.NAME, state=explanation_pb2.STATE_FAILED)
    message.request.model = "models/small"
    message.predictions.append(canned.prediction())
    message.provenance.CopyFrom(
        explanation_pb2.Provenance(
            model="small", model_digest="ab" * 32, library_versions={"torch": "2.15.0"}
        )
    )
    for key, method in (("saliency", "saliency"), ("lime", "lime")):
        requested = message.request.methods.add(key=key)
        getattr(requested, method).SetInParent()
        message.results.append(canned.result(key, method))
        message.results[-1].attributions[0].target.label = label
    message.request.methods[1].lime.segmentation.slic.n_segments = 40
    message.results.append(canned.result("lime_2", "lime", failed=True))
    model = Model.from_proto(canned.card())
    return ExplanationResult.from_proto(
        message, SeenImages(to_inputs(canned.png()) if known else [], model)
    )


def test_the_report_shows_every_map_with_its_proof(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    made().save_html(path)
    page = Page(path.read_text(encoding="utf-8"))
    for wanted in (
        "What small saw",
        "tiger cat",
        "60.0%",
        "saliency",
        "lime",
        "+0.001",
        "Completeness error, relative0.002",
        "Steps on the path50",
        "± 0.02",
        "500 ms",
        "a warning & <b>more</b>",
        "lime_2 failed: only 1 segment was found",
        "segmentation.slic.n_segments",
        "torch 2.15.0",
        "ab" * 32,
    ):
        assert wanted in page.text
    # The image, for each of two maps overlay, heat map and scale, and error bars in two parts.
    assert len(page.images) == 1 + 2 * 3 + 2
    assert "0: +0.5 ± 0.039, 1: -0.25 ± 0.02, 2: +0.12 ± 0.039, 3: +0 ± 0.02" in page.descriptions


def test_the_report_needs_nothing_beside_it() -> None:
    page = Page(made()._repr_html_().partition("<iframe")[0])
    assert not page.images
    source = report()
    page = Page(source)
    assert all(image.startswith("data:image/png;base64,") for image in page.images)
    assert {"link", "script"}.isdisjoint(page.tags)
    assert "http" not in source


def test_what_others_wrote_is_escaped() -> None:
    page = Page(report(label="<script>alert(1)</script>"))
    assert "script" not in page.tags
    assert "<script>" in page.text


def test_without_the_image_the_maps_are_shown_alone() -> None:
    page = Page(report(known=False))
    assert len(page.images) == 2 * 2 + 2


def test_what_has_no_standard_errors_has_no_error_bars() -> None:
    result = made()
    without = replace(result["lime"], standard_errors=None)
    lime = replace(result.methods["lime"], attributions=(without,))
    page = Page(to_html(replace(result, methods={"lime": lime})))
    assert len(page.images) == 1 + 3


def test_an_empty_map_is_called_so() -> None:
    result = made()
    assert "zero everywhere" not in Page(report()).text
    message = canned.result("saliency", "saliency")
    message.attributions[0].values.CopyFrom(to_tensor(canned.gradient() * 0))
    zero = MethodResult.from_proto(message, SeenImages([], None))
    page = Page(to_html(replace(result, methods={"saliency": zero})))
    assert "zero everywhere" in page.text


def test_what_was_never_worked_on_has_no_provenance() -> None:
    result = made()
    assert "Provenance" in Page(to_html(result)).text
    never = replace(result, provenance=Provenance.from_proto(explanation_pb2.Provenance()))
    assert "Provenance" not in Page(to_html(never)).text


def test_the_grid_has_a_row_for_each_input_and_target() -> None:
    result = made()
    one = result.grid()
    second = replace(result["lime"], target=result.predictions[0].classes[1])
    both = replace(result.methods["lime"], attributions=(result["lime"], second))
    two = replace(result, methods={**result.methods, "lime": both}).grid()
    assert two.width == one.width > 4 * 128
    assert two.height - one.height > 128
    assert result.grid(["tabby"]).height > one.height
    with pytest.raises(InvalidArgumentError, match="one an input"):
        result.grid(["tabby", "lynx"])


def test_a_target_whose_score_differs_in_its_last_digits_is_the_same_target() -> None:
    """As batches of other sizes give it, and as answers of earlier explanations have it."""
    result = made()
    nearly = replace(result["lime"].target, probability=result["lime"].target.probability + 1e-7)
    lime = replace(result.methods["lime"], attributions=(replace(result["lime"], target=nearly),))
    reused = replace(result, methods={**result.methods, "lime": lime})
    assert "Why" not in Page(to_html(reused)).text
    assert reused.grid().size == result.grid().size


def test_the_legend_of_a_grid_tells_of_the_colours_that_it_has() -> None:
    signed, unsigned = np.array([[1.0, -1.0]]), np.array([[0.0, 1.0]])
    assert "blue" in legend([signed]) and "yellow" not in legend([signed])
    assert "yellow" in legend([unsigned]) and "blue" not in legend([unsigned])
    assert "blue" in legend([signed, unsigned]) and "yellow" in legend([signed, unsigned])
    assert legend([]) == ""


def test_a_notebook_shows_a_map_and_a_result() -> None:
    result = made()
    with Image.open(io.BytesIO(result["lime"]._repr_png_())) as picture:
        assert picture.size == (8, 8)
    assert "tabby (60.0%)" in result["lime"]._repr_html_()
    assert result._repr_html_().startswith("<iframe")


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8)])
def test_maps_of_all_shapes_are_drawn(shape: tuple[int, ...]) -> None:
    result = made()
    attribution = canned.attribution("saliency")
    attribution.values.CopyFrom(to_tensor(canned.gradient()[:1].reshape(shape)))
    drawn = type(result["lime"]).from_proto(attribution, "k", "saliency", result["lime"].seen)
    assert drawn.overlay().size == (8, 8)


def report(*, known: bool = True, label: str = "tabby") -> str:
    return to_html(made(known=known, label=label))
