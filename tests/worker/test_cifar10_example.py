"""The CIFAR-10 example trains, saves and registers a network that a worker can serve."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from expound_worker.examples.cifar10 import photos
from expound_worker.examples.cifar10.__main__ import main
from expound_worker.examples.cifar10.networks import VARIANTS, build
from expound_worker.examples.cifar10.training import accuracy, train
from expound_worker.models.registry import Registry

COLORS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}
PER_CLASS = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos, each of a colour with some noise, of several sizes and formats."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, color in COLORS.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(PER_CLASS):
                pixels = random.integers(0, 56, (30 + number, 32, 3), np.uint8)
                suffix = "png" if number % 2 else "jpg"
                image = Image.fromarray(pixels + np.array(color, np.uint8))
                image.save(folder / split / name / f"{number}.{suffix}")
    return folder


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the example makes in a few steps."""
    out = tmp_path_factory.mktemp("made") / "folder"
    options = ["--data", str(data), "--out", str(out), "--epochs", "2", "--max-steps", "2"]
    assert main([*options, "--samples", "5", "--variant", "functional"]) == 0
    return out


@pytest.fixture(scope="module")
def registry(made: Path) -> Registry:
    return Registry.load(made / "models.toml", "default")


def test_its_entries_are_served_in_both_ways_of_writing(registry: Registry) -> None:
    names = {f"cifar10_{variant}" for variant in VARIANTS}
    assert {model.name for model in registry} == names
    for model in registry:
        assert model.labels == ("blue", "green", "red")
        assert model.preprocessing == photos.PREPROCESSING


def test_both_ways_of_writing_are_one_function_of_the_same_weights(registry: Registry) -> None:
    modules, functional = (registry.get(f"cifar10_{variant}") for variant in VARIANTS)
    assert modules.digest == functional.digest
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images = images.to(modules.device)
    assert torch.equal(modules.module(images), functional.module(images))
    assert modules.logits(images).std() > 0


def test_the_networks_are_those_of_the_tutorials() -> None:
    modules, functional = (dict(build(variant).named_modules()) for variant in VARIANTS)
    shapes = {name: tuple(weights.shape) for name, weights in build("modules").named_parameters()}
    assert shapes["conv1.weight"] == (6, 3, 5, 5)
    assert shapes["conv2.weight"] == (16, 6, 5, 5)
    assert [shapes[f"fc{n}.weight"] for n in (1, 2, 3)] == [(120, 400), (84, 120), (10, 84)]
    kinds = [type(each).__name__ for each in modules.values()]
    assert (kinds.count("ReLU"), kinds.count("MaxPool2d")) == (4, 2)
    kinds = [type(each).__name__ for each in functional.values()]
    assert (kinds.count("ReLU"), kinds.count("MaxPool2d")) == (0, 1)


def test_it_keeps_test_photos_of_every_class_in_turn(made: Path, data: Path) -> None:
    kept = sorted(path.relative_to(made / "images") for path in made.glob("images/*/*.png"))
    assert [path.parent.name for path in kept] == ["blue", "blue", "green", "green", "red"]
    with (
        Image.open(made / "images" / kept[-1]) as copy,
        Image.open(data / "test" / "red" / "0.jpg") as original,
    ):
        assert np.array_equal(np.asarray(copy), np.asarray(original))


def test_it_tells_the_accuracy_and_the_progress(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(data), "--out", str(tmp_path), "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"epoch 1 of 1 .* 6/6 .* loss [01]\.\d{3}", printed)
    assert re.search(r"accuracy on 24 test images: \d+\.\d%", printed)
    assert f"expound up --models {tmp_path}/models.toml" in printed.replace("\n", "")


def test_training_learns_what_the_photos_show(data: Path) -> None:
    training, test = photos.read(data)
    torch.manual_seed(0)
    network = build("functional", len(COLORS))
    assert accuracy(network, test) < 0.5
    train(network, training, epochs=30, seed=0)
    assert accuracy(network, test) == 1


def test_the_same_seed_gives_the_same_weights(data: Path, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        options = ["--data", str(data), "--out", str(tmp_path / name), "--epochs", "1"]
        assert main([*options, "--seed", str(seed)]) == 0
        weights.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_a_folder_of_something_else_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["--data", str(data / "train"), *out]) == 1
    assert "must hold train/CLASS and test/CLASS" in capsys.readouterr().err
    for split, name in (("train", "cat"), ("test", "dog")):
        (tmp_path / split / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / split / name / "0.png")
    assert main(["--data", str(tmp_path), *out]) == 1
    assert "the same classes" in capsys.readouterr().err
