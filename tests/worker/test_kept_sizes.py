"""Batch sizes that were measured at one start are kept in Redis for the next."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import torch
from redis.backoff import NoBackoff
from redis.retry import Retry

from expound import records
from expound_worker import kept_sizes
from expound_worker.kept_sizes import KeptSizes, setting
from expound_worker.models.batch_size import SIZES, BatchSize, BatchSizes
from expound_worker.models.inference import Inference
from expound_worker.models.model import Model
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.models.registry import Registry
from tests.models import networks
from tests.numeric.models import make_model
from tests.processes import free_port

DAY_S = 24 * 3600
BUILT = f'builder = "{networks.__name__}:perceptron"\ninput = {{ shape = [1, 8, 8] }}\n'
ENTRIES = (
    f"[models.m]\n{BUILT}[models.n]\nbatch_size = 5\n{BUILT}[models.o]\nbatch_size = 64\n{BUILT}"
)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def model() -> Model:
    preprocessing = Preprocessing((1, 8, 8), None, (0.5,), (0.5,))
    return make_model(networks.perceptron(), preprocessing, batch_size=1)


def test_what_was_measured_is_kept_for_a_day(client: redis.Redis, model: Model) -> None:
    sizes = KeptSizes(client)(model)
    key = records.batch_sizes_key(setting(model))
    assert client.keys() == [key.encode()]
    assert client.get(key) == f"{sizes.batch_size} {sizes.chunk_size} {sizes.large}".encode()
    assert DAY_S - 60 < client.ttl(key) <= DAY_S


def test_what_is_kept_is_not_measured_again(client: redis.Redis, model: Model) -> None:
    client.set(records.batch_sizes_key(setting(model)), "256 1 257")
    assert KeptSizes(client)(model) == BatchSizes(256, 1, 257)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "4",
        "4 2 3 1",
        "a b c",
        "é 2 3",
        "3 2 3",
        "4 0 3",
        "4 3 3",
        "512 2 3",
        "4 2 0",
        "4 2 258",
    ],
)
def test_what_can_be_no_size_is_measured_anew(
    client: redis.Redis, model: Model, value: str
) -> None:
    key = records.batch_sizes_key(setting(model))
    client.set(key, value)
    sizes = KeptSizes(client)(model)
    assert client.get(key) == f"{sizes.batch_size} {sizes.chunk_size} {sizes.large}".encode()
    assert client.get(key) != value.encode()


def test_without_redis_the_sizes_are_measured(model: Model) -> None:
    client = redis.Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    assert KeptSizes(client)(model).batch_size in SIZES


def test_what_redis_will_not_read_is_measured(client: redis.Redis, model: Model) -> None:
    client.lpush(records.batch_sizes_key(setting(model)), "4 2 3")
    assert KeptSizes(client)(model).batch_size in SIZES


def test_a_model_is_loaded_with_the_sizes_that_are_told_and_no_larger_ones_than_its_entry_allows(
    tmp_path: Path,
) -> None:
    path = tmp_path / "models.toml"
    path.write_text(ENTRIES)
    told: list[str] = []

    def sizes_of(model: Model) -> BatchSizes:
        told.append(model.name)
        return BatchSizes(4, 8, 3)

    models = Registry.load(path, "default", sizes_of)
    found = [(each.batch_size, each.chunk_size, each.large_batch) for each in models]
    assert found == [(4, 8, 3), (5, 5, 3), (64, 8, 3)]
    assert told == ["m", "n", "o"]


def test_all_that_decides_the_sizes_has_a_key_of_its_own(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    larger = dataclasses.replace(model.preprocessing, input_shape=(1, 9, 9))
    run = model.inference
    others = [
        dataclasses.replace(model, name="n"),
        dataclasses.replace(model, version="2"),
        dataclasses.replace(model, digest="1" * 64),
        dataclasses.replace(model, preprocessing=larger),
        dataclasses.replace(model, cores=model.cores + 1),
        dataclasses.replace(model, device=torch.device("meta")),
        dataclasses.replace(model, inference=Inference(torch.nn.Identity())),
        dataclasses.replace(
            model, inference=dataclasses.replace(run, memory_format=torch.channels_last)
        ),
        dataclasses.replace(model, inference=dataclasses.replace(run, autocast=torch.bfloat16)),
        dataclasses.replace(model, inference=dataclasses.replace(run, compiled=True)),
    ]
    found = [setting(each) for each in (model, *others)]
    monkeypatch.setattr(torch, "__version__", "0.0")
    found.append(setting(model))
    monkeypatch.undo()
    monkeypatch.setattr(kept_sizes, "_processor", lambda: "another")
    found.append(setting(model))
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(999))
    found.append(setting(model))
    monkeypatch.undo()
    assert len(set(found)) == len(found)
    chunked = dataclasses.replace(model, chunk=BatchSize(model.chunk_size + 1))
    assert setting(chunked) == setting(model) == found[0]
