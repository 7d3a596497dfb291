"""The wheel, built and installed as a user does it, in an environment of its own."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
PACKAGES = {
    "expound": "protos",
    "expound_server": "server",
    "expound_worker": "worker",
    "expound_client": "client",
    "expound_deploy": "deploy",
}


def run(*command: str | Path) -> str:
    """Output of a command that has to succeed, run away from the source tree."""
    # Another environment that is active in this shell must not be taken for the one meant.
    environment = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", env=environment, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the whole distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--no-config", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that holds the wheel without extras, and nothing else."""
    environment = tmp_path_factory.mktemp("clean") / "venv"
    run(UV, "venv", "--no-config", "--quiet", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    install = ("pip", "install", "--no-config", "--quiet", "--python", python)
    run(UV, *install, "--constraint", ROOT / "requirements.lock", wheel)
    return python


def test_the_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in PACKAGES.items():
        sources = {
            str(source.relative_to(ROOT / folder))
            for source in (ROOT / folder / package).rglob("*")
            if source.is_file() and "__pycache__" not in source.parts
        }
        assert sources
        assert sources == {name for name in names if name.startswith(f"{package}/")}


def test_a_wheel_can_be_built_of_one_part_alone(tmp_path: Path) -> None:
    """As the server's image does it: the other parts' folders are not there."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "protos", "server"):
        (tmp_path / name).symlink_to(ROOT / name)
    run(UV, "build", "--no-config", "--quiet", "--wheel", "--out-dir", tmp_path / "dist", tmp_path)
    (built,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(built).namelist()
    packages = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert packages == {"expound", "expound_server"}


def test_a_plain_install_has_the_command_line_and_nothing_heavy(clean_python: Path) -> None:
    assert "explain" in run(clean_python.with_name("expound"), "--help")
    heavy = "torch", "torchvision", "captum", "lime", "shap", "celery", "redis", "skimage"
    found = run(
        clean_python,
        "-c",
        f"import importlib.util as u; print([m for m in {heavy!r} if u.find_spec(m)])",
    )
    assert found.strip() == "[]"


def test_a_plain_install_gives_the_client(clean_python: Path) -> None:
    run(clean_python, "-c", "from expound_client import AsyncClient, Client, methods")
