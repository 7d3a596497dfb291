"""Inputs that are read side by side are those that are read one by one."""

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import redis
import skimage.data
import torch
from PIL import Image

from expound import records
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2
from expound_worker import explain
from expound_worker.decoding import pixels
from expound_worker.decoding.decoder import Decoder
from expound_worker.images import InputError, prepare
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.models.registry import Registry
from expound_worker.reader import Reader
from expound_worker.store import Store
from expound_worker.unit import Stopped, Unit, Work
from tests.numeric.models import cifar_net
from tests.server.hand_worker import HandWorker

PHOTO = Image.fromarray(skimage.data.coffee())
PREPROCESSING = Preprocessing((3, 24, 24), 32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))

# What the decoding process runs: it notes the first bytes of what it decodes behind the pixels.
NOTING = """
import sys
from expound_worker.decoding import process

decode = process.decode

def noting(encoded):
    with open(sys.argv[1], "a") as file:
        print(encoded.rpartition(b"number ")[2].rstrip(b"\\0").decode(), file=file)
    return decode(encoded)

process.decode = noting
process.main()
"""


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with closing(Decoder()) as decoder, closing(Reader(decoder, threads=3)) as reader:
        yield reader


@pytest.fixture
def decoded(tmp_path: Path) -> Path:
    """Where the reader below notes what is decoded, a line an image."""
    return tmp_path / "decoded"


@pytest.fixture
def noting(decoded: Path) -> Iterator[Reader]:
    """A reader that reads one image after the other."""
    command = [sys.executable, "-c", NOTING, str(decoded)]
    with closing(Decoder(command)) as decoder, closing(Reader(decoder, threads=1)) as reader:
        yield reader


def photo(number: int) -> bytes:
    buffer = io.BytesIO()
    PHOTO.crop((number, 0, 200 + number, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


def request(*numbers: int) -> explanation_pb2.ExplainRequest:
    """One of photos with tensors between them."""
    asked = explanation_pb2.ExplainRequest()
    for number in numbers:
        asked.inputs.add(image=photo(number))
        if number % 3 == 0:
            values = np.full((3, 24, 24), number, np.float32)
            asked.inputs.add(tensor=to_tensor(values))
    return asked


def one_by_one(asked: explanation_pb2.ExplainRequest) -> list[torch.Tensor]:
    return [
        prepare(source, number, PREPROCESSING, pixels.decode)
        for number, source in enumerate(asked.inputs)
    ]


def noted(*names: str) -> explanation_pb2.ExplainRequest:
    """One of photos with those names; those called bad are none."""
    asked = explanation_pb2.ExplainRequest()
    for name in names:
        # As long as what goes to its process alone.
        image = b"" if name.startswith("bad") else photo(0)
        asked.inputs.add(image=image + b"number " + name.encode() + bytes(70_000))
    return asked


def read(
    reader: Reader, requests: Sequence[explanation_pb2.ExplainRequest]
) -> list[Sequence[torch.Tensor] | Exception]:
    """Reads requests that stay wanted."""
    return reader.read(requests, PREPROCESSING, [lambda: True] * len(requests))


@pytest.mark.parametrize("numbers", [[(1,)], [(1, 2)], [(0, 1, 2), (3,), tuple(range(4, 40))]])
def test_the_inputs_of_each_request_are_read_in_their_order(
    reader: Reader, numbers: list[tuple[int, ...]]
) -> None:
    requests = [request(*some) for some in numbers]
    for asked, inputs in zip(requests, read(reader, requests), strict=True):
        assert not isinstance(inputs, Exception)
        for made, expected in zip(inputs, one_by_one(asked), strict=True):
            assert torch.equal(made, expected)


def test_a_bad_input_fails_its_own_request_alone(reader: Reader) -> None:
    good, bad, other = request(1, 2, 3), request(*range(20)), request(4)
    bad.inputs[5].image = b"no image"
    bad.inputs[9].image = b"nor this"
    before, failed, behind = read(reader, [good, bad, other])
    assert isinstance(failed, InputError)
    assert failed.field == "inputs[5].image"
    assert not isinstance(before, Exception)
    assert not isinstance(behind, Exception)
    assert (len(before), len(behind)) == (4, 1)
    assert torch.equal(behind[0], one_by_one(other)[0])


def test_what_is_behind_a_bad_input_is_not_read_where_that_lasts(
    noting: Reader, decoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expound_worker.reader._LASTS_S", 0.0)
    requests = [noted("a", "bad b", "c", "bad d", *("e" * 20)), noted("f", "g")]
    failed, whole = read(noting, requests)
    assert isinstance(failed, InputError)
    assert failed.field == "inputs[1].image"
    assert not isinstance(whole, Exception)
    assert len(whole) == 2
    assert decoded.read_text().split("\n") == ["a", "bad b", "f", "g", ""]


def test_what_is_no_longer_wanted_is_not_read_on(
    noting: Reader, decoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expound_worker.reader._LASTS_S", 0.0)

    def wanted_until(name: str) -> bool:
        return not decoded.exists() or name not in decoded.read_text().split()

    requests = [noted("a", "b", "c", *("d" * 20)), noted("e", "f")]
    wanted = [partial(wanted_until, name) for name in ("b", "never")]
    stopped, whole = noting.read(requests, PREPROCESSING, wanted)
    assert isinstance(stopped, Stopped)
    assert not isinstance(whole, Exception)
    assert len(whole) == 2
    assert decoded.read_text().split() == ["a", "b", "e", "f"]


def test_nobody_is_asked_about_what_does_not_last(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expound_worker.reader._LASTS_S", 3600.0)
    asked = []

    def wanted() -> bool:
        asked.append(True)
        return False

    requests = [request(*range(20)), request(1)]
    outcomes = reader.read(requests, PREPROCESSING, [wanted] * 2)
    assert not any(isinstance(each, Exception) for each in outcomes)
    assert not asked


def test_an_explanation_that_is_cancelled_is_not_read_on_and_stays_as_it_is(
    redis_url: str, noting: Reader, decoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expound_worker.reader._LASTS_S", 0.0)
    model = cifar_net()
    hand = HandWorker(redis_url)
    store = Store(redis.Redis.from_url(redis_url), hand.worker)
    works = []
    for name in ("a", "b"):
        hand.create(name)
        unit = Unit(store, name, records.EXPLAIN_UNIT, hand.claim(name) or 0)
        asked = noted(f"first of {name}", f"second of {name}")
        asked.model = model.name
        works.append(Work(unit, asked, explanation_pb2.PredictionsReady()))
    hand.run("end", "a", str(explanation_pb2.STATE_CANCELLED), b"", "", "")
    before = hand.record("a")
    (found,) = explain.read(works, Registry([model]), noting)
    assert found.work is works[1]
    assert len(found.inputs) == 2
    assert decoded.read_text().splitlines() == ["first of b", "second of b"]
    assert hand.record("a") == before
