"""The images: what their Dockerfiles say, and what would be installed in them."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
UV = Path(sys.executable).with_name("uv")
HEAVY = {"torch", "torchvision", "captum", "lime", "shap", "scikit-image", "scikit-learn"}


def instructions(image: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, continued lines joined."""
    text = (DOCKER / f"{image}.Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.split("\n"))]


def last_stage(image: str) -> list[tuple[str, str]]:
    """The instructions that make the image itself."""
    every = instructions(image)
    starts = [index for index, (word, _) in enumerate(every) if word == "FROM"]
    assert len(starts) == 2
    return every[starts[-1] :]


def requirements(image: str, tmp_path: Path) -> dict[str, str]:
    """Versions of what the image's install step, taken from its Dockerfile, would install."""
    (step,) = [rest for word, rest in instructions(image) if word == "RUN" and "--extra" in rest]
    options = shlex.split(step)[shlex.split(step).index("--requirements") :]
    environment = tmp_path / "venv"
    subprocess.run([UV, "venv", "-q", "--no-config", "-p", sys.executable, environment], check=True)
    install = subprocess.run(
        [UV, "pip", "install", "--no-config", "--dry-run", "--python", environment, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert install.returncode == 0, install.stderr
    return dict(re.findall(r"^ \+ (\S+)==(\S+)$", install.stderr, re.MULTILINE))


@pytest.mark.parametrize("image", ["server", "worker"])
class TestEveryImage:
    def test_it_does_not_run_as_root(self, image: str) -> None:
        (user,) = [rest for word, rest in last_stage(image) if word == "USER"]
        assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)

    def test_its_process_gets_the_signals_itself(self, image: str) -> None:
        stage = last_stage(image)
        (entrypoint,) = [rest for word, rest in stage if word == "ENTRYPOINT"]
        assert json.loads(entrypoint) == ["python", "-m", f"expound_{image}"]
        assert all(isinstance(json.loads(rest), list) for word, rest in stage if word == "CMD")

    def test_it_holds_what_was_built_and_no_build_tools(self, image: str) -> None:
        stage = last_stage(image)
        assert [rest for word, rest in stage if word in ("COPY", "ADD")] == [
            "--from=build /opt/expound /opt/expound"
        ]
        assert not [rest for word, rest in stage if word == "RUN"]

    def test_it_is_built_of_the_contract_and_its_own_folder(self, image: str) -> None:
        copied = [rest.split()[:-1] for word, rest in instructions(image) if word == "COPY"]
        folders = {name for names in copied for name in names if (ROOT / name).is_dir()}
        assert folders == {"protos", image}

    def test_its_requirements_are_those_of_the_lock(self, image: str, tmp_path: Path) -> None:
        lock = dict(
            re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
        )
        wanted = requirements(image, tmp_path)
        assert wanted.items() <= lock.items()
        assert bool(HEAVY & wanted.keys()) == (image == "worker")


@pytest.mark.parametrize("image", ["server", "worker"])
def test_what_builds_is_of_the_lock_too(image: str) -> None:
    installs = [rest for word, rest in instructions(image) if word == "RUN" and "uv pip" in rest]
    assert len(installs) == 2
    for install in installs:
        assert "--build-constraints requirements.lock" in install
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    lock = (ROOT / "requirements.lock").read_text()
    for requirement in build["requires"]:
        name = re.split(r"[^\w-]", requirement)[0]
        assert re.search(rf"^{name}==", lock, re.MULTILINE)


def test_the_build_context_leaves_out_all_but_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        name
        for image in ("server", "worker")
        for word, rest in instructions(image)
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }
    assert rules[0] == "*"
    assert allowed == copied
