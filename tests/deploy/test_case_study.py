"""The case study explains what its training left, by the methods that the service has."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from expound.v1 import explanation_pb2
from expound_deploy.case_study import METHODS, main
from tests.client import canned
from tests.client.fake_service import FakeService
from tests.processes import free_port


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with a photo of a class, as training leaves it."""
    (tmp_path / "images" / "lynx").mkdir(parents=True)
    canned.photo().save(tmp_path / "images" / "lynx" / "7.png")
    return tmp_path


def test_photos_are_explained_by_the_methods_that_the_service_has(trained: Path) -> None:
    with FakeService() as service:
        service.card.name = "models/cifar10_functional"
        options = ["--server", service.address, "--out", str(trained), "--variant", "functional"]
        done = CliRunner().invoke(main, options)
    assert done.exit_code == 0, done.output
    (request,) = service.requests["Explain"]
    assert isinstance(request, explanation_pb2.ExplainRequest)
    assert request.model == "cifar10_functional"
    (sent,) = request.inputs
    assert sent.image == (trained / "images" / "lynx" / "7.png").read_bytes()
    assert [each.WhichOneof("method") for each in request.methods] == ["saliency", "deep_lift"]
    assert "left out: grad_cam: no layer with a spatial output" in done.output
    assert "left out: lime: not implemented" in done.output
    with Image.open(trained / "explained" / "grid.png") as grid:
        assert grid.width > 3 * 128
    assert (trained / "explained" / "report.html").exists()


def test_a_folder_without_photos_says_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--server", "127.0.0.1:1", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "train first" in done.output


def test_no_service_is_told(trained: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = CliRunner().invoke(main, ["--server", address, "--out", str(trained)])
    assert done.exit_code == 1
    assert address in done.output


def test_the_methods_are_those_of_the_tutorials() -> None:
    names = [method.partition(":")[0] for method in METHODS]
    assert names == [
        "grad_cam",
        "saliency",
        "integrated_gradients",
        "integrated_gradients",
        "deep_lift",
        "lime",
        "kernel_shap",
    ]
    (tunnel,) = (method for method in METHODS if ":" in method)
    for said in ("type=smoothgrad_sq", "n_samples=100", "stdev=0.2"):
        assert said in tunnel
