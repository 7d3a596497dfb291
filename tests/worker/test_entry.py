"""Entries of models.toml are read whole, or refused with the place and what is allowed."""

import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from expound_worker.models.entry import Entry, EntryError, read_entries
from expound_worker.models.loading import load
from expound_worker.models.registry import Registry
from tests.models import networks

HEAD = '[models.m]\ntorchvision = "resnet18"\narguments = { num_classes = 5 }\n'
SMALL = "[models.m.input]\nshape = [3, 64, 64]\n"
WITH_BUFFER = 'arguments = { name = "shift", value = 0.0 }\nbatch_size = 1\n'


class LogitScale(nn.Module):
    """Gives a scale without dimensions, as CLIP's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self) -> Tensor:
        scale: Tensor = self.scale.exp()
        return scale


class Scaled(nn.Module):
    """The CIFAR network, whose logits are scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.network = networks.cifar()
        self.logit_scale = LogitScale()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images) * self.logit_scale()
        return logits


class OfTwo(nn.Module):
    """A network that takes batches of two alone."""

    def __init__(self) -> None:
        super().__init__()
        self.network = networks.cifar()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.reshape(2, 3, 32, 32))
        return logits


class OfProbabilities(nn.Module):
    """The CIFAR network with a softmax behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = networks.cifar()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits.softmax(dim=1)


class WithBuffer(nn.Module):
    """The CIFAR network of one seed, with a buffer of some name and value."""

    def __init__(self, name: str, value: float) -> None:
        super().__init__()
        self.network = networks.cifar()
        self.register_buffer(name, torch.tensor([value]))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits


def write(folder: Path, text: str) -> Path:
    path = folder / "models.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must hold tables"),
        ("[models.m]\n", "one of `builder`, `torchvision` and `archive`"),
        ('[models.m]\nbuilder = "nowhere"\n', "MODULE:CALLABLE"),
        (HEAD + "sped = 3\n", "unknown `sped`"),
        (HEAD + 'weights = "none.safetensors"\n', "there is no file"),
        (HEAD + 'weights = "model.pickle"\n', ".safetensors or .pth"),
        (HEAD + 'archive = "model.pt2"\n', "there is no file"),
        ('[models.m]\narchive = "model.zip"\n', "`archive` must be a .pt2"),
        (HEAD + 'autocast = "int8"\n', "one of bfloat16, float16"),
        (HEAD + "compile = 1\n", "true or false"),
        (HEAD + 'weights = "model.pt2"\n', ".safetensors or .pth"),
        (HEAD + 'weights_sha256 = "00"\n', "64 hexadecimal digits"),
        (HEAD + f'weights_sha256 = "{"0" * 64}"\n', "there is no `weights` to check"),
        (HEAD + 'seed = "x"\n', "`seed` must be a int"),
        (HEAD + "[models.m.input]\nshape = [2, 4, 4]\n", "input.shape"),
        (HEAD + "[models.m.input]\nstd = [0, 1, 1]\n", "`input.std` must be 3 numbers above 0"),
        (HEAD + '[models.m.input]\ninterpolation = "magic"\n', "one of nearest"),
        ("[models.m\n", "is no TOML"),
        ("[models]\na = 1\n", "must hold tables"),
        (HEAD + "batch_size = -4\n", "`batch_size` must be a whole number of 1 or more, not -4"),
        (HEAD + "batch_size = 2.5\n", "`batch_size` must be"),
        (HEAD + "threads = -1\n", "`threads` must be"),
        (HEAD + "threads = true\n", "`threads` must be"),
        (HEAD + "[models.m.input]\nresize = -3\n", "`input.resize` must be"),
        (HEAD + "[models.m.input]\nresize = 0\n", "`input.resize` must be"),
        (HEAD + "[models.m.input]\nshape = [3, true, 4]\n", "input.shape"),
        (HEAD + '[models.m.input]\nmean = ["a", 1, 1]\n', "`input.mean` must be"),
        (HEAD + '[models.m.input]\nstd = ["a", 1, 1]\n', "`input.std` must be"),
        (HEAD + "[models.m.input]\nstd = [1, nan, 1]\n", "`input.std` must be"),
        (HEAD + "[models.m.input]\nmean = [0.5]\n", "`input.mean` must be"),
        (HEAD + "[models.m.input]\nmean = [inf, 1, 1]\n", "`input.mean` must be"),
        (HEAD + "[models.m.input]\nsped = 3\n", "unknown `input.sped`"),
        (HEAD + "seed = true\n", "`seed` must be a int"),
        (HEAD + 'labels = "none.txt"\n', "`labels`: there is no file"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(EntryError) as raised:
        read_entries(write(tmp_path, text))
    assert said in str(raised.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match="cannot be read"):
        read_entries(tmp_path / "models.toml")


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_come_from_a_local_file(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(7)
    trained = get_model("resnet18", weights=None, num_classes=5)
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save(trained.state_dict(), path)
    else:
        safetensors.torch.save_file(trained.state_dict(), path)
    entry = read_entries(write(tmp_path, HEAD + f'weights = "weights.{suffix}"\n' + SMALL))[0]
    model = load(entry)
    inputs = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model.module(inputs), trained.eval()(inputs))


@pytest.mark.parametrize(("key", "said"), [("fc.bias", "Missing key"), (None, "Unexpected key")])
def test_weights_of_another_network_are_refused(tmp_path: Path, key: str | None, said: str) -> None:
    state = get_model("resnet18", weights=None, num_classes=5).state_dict()
    if key is None:
        state["more"] = torch.zeros(1)
    else:
        del state[key]
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    text = HEAD + 'weights = "weights.safetensors"\n' + SMALL
    with pytest.raises(EntryError, match=said):
        load(read_entries(write(tmp_path, text))[0])


def test_weights_beside_an_archive_are_refused(tmp_path: Path) -> None:
    for name in ("network.pt2", "weights.pth"):
        (tmp_path / name).touch()
    text = '[models.m]\narchive = "network.pt2"\nweights = "weights.pth"\n'
    with pytest.raises(EntryError, match="`weights` must be absent"):
        read_entries(write(tmp_path, text))


def test_a_pickle_that_calls_something_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"weights": torch.nn.Linear(1, 1)}, tmp_path / "weights.pth")
    entry = read_entries(write(tmp_path, HEAD + 'weights = "weights.pth"\n' + SMALL))[0]
    with pytest.raises(EntryError, match="UnpicklingError"):
        load(entry)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_are_loaded_if_they_have_the_digest_of_their_entry(
    tmp_path: Path, suffix: str
) -> None:
    state = get_model("resnet18", weights=None, num_classes=5).state_dict()
    path = tmp_path / f"weights.{suffix}"
    save = torch.save if suffix == "pth" else safetensors.torch.save_file
    save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    text = f'{HEAD}weights = "weights.{suffix}"\nweights_sha256 = "{digest.upper()}"\n{SMALL}'
    entry = read_entries(write(tmp_path, text))[0]
    load(entry)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(EntryError, match="SHA-256"):
        load(entry)


def of_a_builder(folder: Path, name: str, more: str = "") -> Entry:
    """The entry of a network of this module, of images of 32 x 32."""
    head = f'[models.m]\nbuilder = "{__name__}:{name}"\n{more}'
    return read_entries(write(folder, f"{head}[models.m.input]\nshape = [3, 32, 32]\n"))[0]


def test_a_module_that_gives_a_number_alone_is_no_layer(tmp_path: Path) -> None:
    model = load(of_a_builder(tmp_path, "Scaled"))
    assert [layer.name for layer in model.layers][:2] == ["network.conv1", "network.pool#1"]


def test_a_network_that_fails_at_other_batches_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match=r"\[models\.m\]: RuntimeError: shape"):
        load(of_a_builder(tmp_path, "OfTwo"))


def test_a_network_that_gives_probabilities_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EntryError) as raised:
        load(of_a_builder(tmp_path, "OfProbabilities"))
    assert str(raised.value) == (
        "[models.m]: the model gives probabilities, and Expound needs logits: remove the final "
        "softmax"
    )


def test_random_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    def digest(seed: int) -> str:
        return load(read_entries(write(tmp_path, HEAD + f"seed = {seed}\n" + SMALL))[0]).digest

    assert digest(3) == digest(3) != digest(4)


def test_the_digest_is_that_of_names_and_buffers_too(tmp_path: Path) -> None:
    def digest(name: str, value: float) -> str:
        arguments = WITH_BUFFER.replace("shift", name).replace("0.0", str(value))
        return load(of_a_builder(tmp_path, "WithBuffer", arguments)).digest

    assert digest("shift", 0.0) == digest("shift", 0.0)
    assert len({digest("shift", 0.0), digest("shift", 1.0), digest("scale", 0.0)}) == 3


def test_a_network_is_frozen_and_in_eval_mode(tmp_path: Path) -> None:
    module = load(of_a_builder(tmp_path, "WithBuffer", WITH_BUFFER)).module
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any(part.training for part in module.modules())


def test_a_model_has_the_batch_size_and_the_cores_of_its_entry(tmp_path: Path) -> None:
    small = f'builder = "{networks.__name__}:cifar"\ninput = {{ shape = [3, 32, 32] }}\n'
    own = f"[models.m]\nbatch_size = 3\nthreads = 1\n{small}"
    other = f"[models.n]\nbatch_size = 5\n{small}"
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        models = list(Registry.load(write(tmp_path, own + other), "default"))
        (alone,) = Registry.load(write(tmp_path, own), "default")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [model.cores for model in (*models, alone)] == [1, 2, 1]
    assert [model.batch_size for model in models] == [3, 5]
    assert all(model.chunk_size <= model.batch_size for model in models)


def test_labels_must_be_as_many_as_classes(tmp_path: Path) -> None:
    entry = read_entries(write(tmp_path, HEAD + 'labels = ["a", "b"]\n' + SMALL))[0]
    with pytest.raises(EntryError, match="2 labels, but the model has 5"):
        load(entry)


@pytest.mark.parametrize("pool", ["", "big:lasting", "a pool"])
def test_the_name_of_a_pool_is_checked(tmp_path: Path, pool: str) -> None:
    path = write(tmp_path, HEAD + f'pool = "{pool}"\n' + SMALL)
    with pytest.raises(EntryError, match=f"`pool` must be letters, .*, not '{pool}'"):
        read_entries(path)


def test_the_name_of_a_model_is_checked(tmp_path: Path) -> None:
    text = (HEAD + SMALL).replace("[models.m", '[models."a/b"')
    with pytest.raises(EntryError, match=r"a/b.*the name of a model must be letters, digits"):
        read_entries(write(tmp_path, text))


def test_a_pool_serves_its_own_models_alone(tmp_path: Path) -> None:
    other = HEAD.replace("models.m", "models.n") + 'pool = "big"\n' + SMALL.replace(".m.", ".n.")
    path = write(tmp_path, HEAD + SMALL + other)
    assert [model.name for model in Registry.load(path, "big")] == ["n"]


def test_an_archive_of_torch_export_is_loaded_if_it_has_the_digest_of_its_entry(
    tmp_path: Path,
) -> None:
    network = networks.cifar().eval().requires_grad_(False)
    batch = {0: torch.export.Dim("batch", min=1, max=1024)}
    exported = torch.export.export(network, (torch.rand(2, 3, 32, 32),), dynamic_shapes=(batch,))
    path = tmp_path / "network.pt2"
    torch.export.save(exported, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    head = '[models.m]\narchive = "network.pt2"\n'
    with pytest.raises(EntryError, match="unpickles"):
        read_entries(write(tmp_path, head))
    small = "[models.m.input]\nshape = [3, 32, 32]\n"
    entry = read_entries(write(tmp_path, f'{head}archive_sha256 = "{digest}"\n{small}'))[0]
    model = load(entry)
    inputs = torch.rand(5, 3, 32, 32)
    assert torch.equal(model.module(inputs), network(inputs))
    assert torch.allclose(model.logits(inputs), network(inputs), atol=1e-5)
    assert [layer.name for layer in model.layers][:2] == ["conv1", "pool#1"]
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(EntryError, match="SHA-256"):
        load(entry)
