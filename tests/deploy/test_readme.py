"""What the README tells to type works as it stands there, with `expound up` running."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.up import Up

README = (Path(__file__).parents[2] / "README.md").read_text()
USE = README.partition("## Use")[2].partition("\n## ")[0]
WRITTEN_ADDRESS = "localhost:50051"

# The examples run the real model, on a machine that may be busy with other things.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a service that `expound up` has started, with its default model."""
    with Up(tmp_path_factory.mktemp("up")) as up:
        up.wait_for("ready:", timeout_s=180)
        yield f"localhost:{up.port}"


def blocks(language: str) -> list[str]:
    """The code blocks of the section on use."""
    return re.findall(rf"```{language}\n(.*?)```", USE, re.DOTALL)


def run(command: list[str], folder: Path, address: str) -> str:
    """Output of a command that has to succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "EXPOUND_SERVER": address},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_python_example_works_as_printed(tmp_path: Path, address: str) -> None:
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line]) <= 12
    assert WRITTEN_ADDRESS in example
    output = run(
        [sys.executable, "-c", example.replace(WRITTEN_ADDRESS, address)], tmp_path, address
    )
    assert "cat" in output.splitlines()[-1]
    assert (tmp_path / "lime.png").read_bytes().startswith(b"\x89PNG")
    assert "<html" in (tmp_path / "report.html").read_text()


def test_the_shell_examples_work_as_printed(tmp_path: Path, address: str) -> None:
    skimage = importlib.util.find_spec("skimage")
    assert skimage is not None and skimage.origin is not None
    (tmp_path / "demo-output").mkdir()
    shutil.copy(Path(skimage.origin).parent / "data" / "chelsea.png", tmp_path / "demo-output")
    examples = blocks("sh")[-1]
    assert examples.count("expound ") == 4
    output = run(["bash", "-euc", examples], tmp_path, address)
    assert "efficientnet_lite0" in output
    assert (tmp_path / "explained" / "report.html").exists()


def test_the_first_command_starts_the_service() -> None:
    assert blocks("sh")[0] == "expound up\n"
