"""The entries of ``models.toml``: what is written there, checked."""

import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch

from expound import tasks
from expound_worker.models.preprocessing import INTERPOLATIONS, Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# What has a meaning in resource names and in keys of Redis is no part of a name.
_NAME = "[A-Za-z0-9._-]+"
_NAME_IS = "letters, digits, `.`, `_` and `-`"
AUTOCASTS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class EntryError(Exception):
    """An entry of ``models.toml`` is wrong; says which, where and what is allowed."""


@dataclass(frozen=True)
class Entry:
    """One model of ``models.toml``.

    Attributes:
        name: name of the model; the table's name.
        builder: ``module:callable`` that gives the network; empty for another kind.
        torchvision: name of a torchvision builder ("resnet50"); empty for another kind.
        archive: archive that `torch.export.save` has written; None for another kind.
        archive_sha256: SHA-256 that the archive must have, hexadecimal: reading one unpickles.
        arguments: keyword arguments of the builder.
        weights: file of weights, ``.safetensors`` or ``.pth``; None: those that the builder makes.
        weights_sha256: SHA-256 that the file must have, hexadecimal; empty: not checked.
        seed: seed of the weights that a builder draws at random.
        labels: the labels; empty for none.
        preprocessing: how an image becomes an input.
        version: version of the entry.
        pool: pool of the workers that serve it.
        device: "auto", "cpu", "cuda", "cuda:1".
        batch_size: images in one forward pass, and the most in one of a job, which lasts no longer
            for it; None: measured at load, unless it is known.
        threads: cores that compute on the CPU; None: all.
        autocast: element type of forward passes without gradients; None: float32.
        compile: whether `torch.compile` makes forward passes without gradients.
    """

    name: str
    builder: str
    torchvision: str
    archive: Path | None
    archive_sha256: str
    arguments: dict[str, Any]
    weights: Path | None
    weights_sha256: str
    seed: int
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    version: str
    pool: str
    device: str
    batch_size: int | None
    threads: int | None
    autocast: torch.dtype | None
    compile: bool


def read_entries(path: str | Path) -> list[Entry]:
    """Reads and checks ``models.toml``; relative paths in it start at its folder.

    Raises:
        EntryError: the file is missing, is no TOML, or an entry in it is wrong.
    """
    file = Path(path)
    try:
        document = tomllib.loads(file.read_text())
    except OSError as error:
        raise EntryError(f"{file}: cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise EntryError(f"{file}: is no TOML: {error}") from error
    tables = document.pop("models", {})
    entries = isinstance(tables, dict) and all(isinstance(each, dict) for each in tables.values())
    if document or not entries or not tables:
        raise EntryError(f"{file}: must hold tables [models.NAME] and nothing else")
    return [_Table(file, name, table).entry() for name, table in tables.items()]


class _Table:
    """One table [models.NAME], while it is read: every key may be taken once."""

    def __init__(self, file: Path, name: str, table: dict[str, Any], within: str = "") -> None:
        self._file = file
        self._name = name
        self._within = within
        self._table = dict(table)

    def entry(self) -> Entry:
        builder = self._take("builder", str, "")
        torchvision = self._take("torchvision", str, "")
        archive = self._file_of("archive", (".pt2",))
        if [bool(builder), bool(torchvision), archive is not None].count(True) != 1:
            raise self._error("must have one of `builder`, `torchvision` and `archive`")
        if builder and builder.count(":") != 1:
            raise self._error(f"`builder` must be MODULE:CALLABLE, not {builder!r}")
        weights = self._file_of("weights", (".safetensors", ".pth", ".pt"))
        if archive and weights:
            raise self._error("an `archive` has its weights in it: `weights` must be absent")
        archive_sha256 = self._sha256("archive", archive)
        if archive and not archive_sha256:
            raise self._error("reading an `archive` unpickles: `archive_sha256` must say which")
        if not re.fullmatch(_NAME, self._name):
            raise self._error(f"the name of a model must be {_NAME_IS}")
        entry = Entry(
            name=self._name,
            builder=builder,
            torchvision=torchvision,
            archive=archive,
            archive_sha256=archive_sha256,
            arguments=self._take("arguments", dict, {}),
            weights=weights,
            weights_sha256=self._sha256("weights", weights),
            seed=self._take("seed", int, 0),
            labels=self._labels(),
            preprocessing=self._preprocessing(),
            version=self._take("version", str, "1"),
            pool=self._pool(),
            device=self._take("device", str, "auto"),
            batch_size=self._length("batch_size"),
            threads=self._length("threads"),
            autocast=self._autocast(),
            compile=self._flag("compile"),
        )
        self._done()
        return entry

    def _pool(self) -> str:
        pool: str = self._take("pool", str, tasks.DEFAULT_POOL)
        if not re.fullmatch(_NAME, pool):
            raise self._error(f"`pool` must be {_NAME_IS}, not {pool!r}")
        return pool

    def _file_of(self, key: str, suffixes: tuple[str, ...]) -> Path | None:
        given = self._take(key, str, "")
        if not given:
            return None
        path: Path = self._file.parent / given
        if path.suffix not in suffixes:
            allowed = " or ".join(suffixes)
            raise self._error(f"`{key}` must be a {allowed} file, not {given!r}")
        if not path.is_file():
            raise self._error(f"`{key}`: there is no file {path}")
        return path

    def _sha256(self, key: str, path: Path | None) -> str:
        given: str = self._take(f"{key}_sha256", str, "").lower()
        if given and not re.fullmatch("[0-9a-f]{64}", given):
            raise self._error(f"`{key}_sha256` must be 64 hexadecimal digits, not {given!r}")
        if given and path is None:
            raise self._error(f"`{key}_sha256` is given, but there is no `{key}` to check")
        return given

    def _labels(self) -> tuple[str, ...]:
        given = self._table.pop("labels", [])
        if isinstance(given, list) and all(isinstance(label, str) for label in given):
            return tuple(given)
        if given == "imagenet":
            from torchvision.models._meta import _IMAGENET_CATEGORIES

            return tuple(_IMAGENET_CATEGORIES)
        if not isinstance(given, str):
            raise self._error('`labels` must be a list of strings, "imagenet" or a file of lines')
        path = self._file.parent / given
        if not path.is_file():
            raise self._error(f"`labels`: there is no file {path}")
        return tuple(path.read_text().splitlines())

    def _preprocessing(self) -> Preprocessing:
        table = _Table(self._file, self._name, self._take("input", dict, {}), "input.")
        shape = table._take("shape", list, [3, 224, 224])
        if len(shape) != 3 or shape[0] not in (1, 3) or not all(_is_length(n) for n in shape):
            raise table._error(f"`input.shape` must be [1 or 3, height, width], not {shape}")
        channels = shape[0]
        mean = table._numbers("mean", IMAGENET_MEAN if channels == 3 else (0.5,))
        std = table._numbers("std", IMAGENET_STD if channels == 3 else (0.5,), above=0)
        interpolation = table._take("interpolation", str, "bilinear")
        if interpolation not in INTERPOLATIONS:
            allowed = ", ".join(INTERPOLATIONS)
            raise table._error(f"`input.interpolation` must be one of {allowed}")
        resize = table._length("resize")
        table._done()
        return Preprocessing(
            input_shape=(channels, shape[1], shape[2]),
            resize=resize,
            mean=mean,
            std=std,
            interpolation=interpolation,
        )

    def _autocast(self) -> torch.dtype | None:
        given = self._take("autocast", str, "")
        if given not in ("", *AUTOCASTS):
            allowed = ", ".join(AUTOCASTS)
            raise self._error(f"`autocast` must be one of {allowed}, not {given!r}")
        return AUTOCASTS.get(given)

    def _flag(self, key: str) -> bool:
        value = self._table.pop(key, False)
        if not isinstance(value, bool):
            raise self._error(f"`{key}` must be true or false, not {value!r}")
        return value

    def _length(self, key: str) -> int | None:
        value = self._table.pop(key, None)
        if value is None or _is_length(value):
            return value
        name = f"{self._within}{key}"
        raise self._error(f"`{name}` must be a whole number of 1 or more, not {value!r}")

    def _numbers(
        self, key: str, default: tuple[float, ...], above: float = -math.inf
    ) -> tuple[float, ...]:
        """As many numbers as the default has, each above a limit."""
        values = self._table.pop(key, list(default))
        numbers = isinstance(values, list) and all(_is_number(value) for value in values)
        if numbers and len(values) == len(default) and all(value > above for value in values):
            return tuple(float(value) for value in values)
        limit = "" if above == -math.inf else f" above {above:g}"
        name = f"{self._within}{key}"
        raise self._error(f"`{name}` must be {len(default)} numbers{limit}, not {values!r}")

    def _take(self, key: str, kind: type[Any], default: Any) -> Any:
        value = self._table.pop(key, default)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._error(f"`{self._within}{key}` must be a {kind.__name__}, not {value!r}")
        return value

    def _done(self) -> None:
        if self._table:
            unknown = ", ".join(f"`{self._within}{key}`" for key in self._table)
            raise self._error(f"unknown {unknown}")

    def _error(self, message: str) -> EntryError:
        return EntryError(f"{self._file}: [models.{self._name}]: {message}")


def _is_length(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
