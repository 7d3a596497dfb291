"""Images are decoded in processes of their own, whose ends are not the worker's."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from expound_worker.decoding import pixels
from expound_worker.decoding.decoder import Decoder
from expound_worker.decoding.errors import DecodeError
from tests.processes import children, wait_until

PHOTO = Image.fromarray(skimage.data.chelsea())

# What the decoding process runs, its decoders changed: images named after a fault have it.
FAULTY = """
import os, signal
from expound_worker.decoding import process

decode = process.decode
faults = {
    b"deadly": os.abort,
    b"killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"endless": lambda: all(iter(lambda: True, False)),
    b"torn": lambda: os.kill(os.getpid(), signal.SIGTERM),
}

def faulty(encoded):
    faults.get(encoded, int)()
    return decode(encoded)

process.decode = faulty
"""
RUN = "\nprocess.main()"


def jpeg(size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    PHOTO.resize(size).save(buffer, "JPEG")
    return buffer.getvalue()


def faulty(change: str = "") -> list[str]:
    return [sys.executable, "-c", FAULTY + change + RUN]


def gone(process: int) -> bool:
    """Whether there is no such process, or one that has ended and nobody has asked about."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture(autouse=True)
def others() -> set[int]:
    """What this process had started before; its decoders are the rest."""
    return set(children(os.getpid()))


def decoders(others: set[int]) -> list[int]:
    """Ids of the processes that decode."""
    return [child for child in children(os.getpid()) if child not in others]


@pytest.fixture
def decode() -> Iterator[Decoder]:
    """A decoder whose processes have the faults above."""
    with closing(Decoder(faulty(), timeout_s=10)) as decoder:
        yield decoder


@pytest.fixture
def sound(others: set[int]) -> Iterator[Decoder]:
    """A decoder as workers have it."""
    with closing(Decoder()) as decoder:
        yield decoder
    assert decoders(others) == []


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_the_pixels_are_those_of_a_decoder_in_this_process(sound: Decoder, form: str) -> None:
    buffer = io.BytesIO()
    PHOTO.save(buffer, form)
    decoded = sound(buffer.getvalue())
    assert decoded.mode == "RGB"
    assert np.array_equal(np.asarray(decoded), np.asarray(pixels.decode(buffer.getvalue())))


def test_a_decoded_image_stays_as_it_is_when_others_are_decoded(sound: Decoder) -> None:
    first = sound(jpeg())
    before = np.array(first)
    sound(jpeg((300, 200)))
    assert np.array_equal(np.asarray(first), before)


def test_what_is_wrong_with_an_image_is_told(sound: Decoder) -> None:
    with pytest.raises(DecodeError, match="send one of JPEG, PNG, WebP, BMP, TIFF"):
        sound(b"GIF89a")
    assert sound(jpeg()).size == (64, 48)


@pytest.mark.parametrize("image", [b"deadly", b"killed"])
def test_an_image_that_ends_its_process_fails_alone(decode: Decoder, image: bytes) -> None:
    with pytest.raises(DecodeError, match="ends the program that reads it"):
        decode(image)
    assert decode(jpeg()).size == (64, 48)


def test_an_endless_decode_is_ended_and_the_next_image_is_decoded() -> None:
    with closing(Decoder(faulty(), timeout_s=5)) as decode:
        with pytest.raises(DecodeError, match="longer than 5 s"):
            decode(b"endless")
        assert decode(jpeg()).size == (64, 48)


def test_images_that_go_together_are_decoded_each_for_itself(decode: Decoder) -> None:
    """Also where those of an image are too many bytes to be sent with others."""
    sizes = [(16 + 3 * n, 8 + 2 * n) for n in range(20)]
    images = [jpeg(size) + bytes(70_000 if size[0] == 40 else 0) for size in sizes]
    images[3:3] = [b"deadly"]
    images[7:7] = [b"GIF89a", b"killed"]
    images.append(b"deadly")
    outcomes = list(decode.decode_all(images))
    wrong = {n: str(each) for n, each in enumerate(outcomes) if isinstance(each, DecodeError)}
    assert sorted(wrong) == [3, 7, 8, 23]
    assert "send one of" in wrong[7]
    assert all("ends the program that reads it" in wrong[n] for n in (3, 8, 23))
    sound = [each.size for each in outcomes if not isinstance(each, Exception)]
    assert sound == sizes


def test_a_process_decodes_one_image_after_the_other(sound: Decoder, others: set[int]) -> None:
    sound(jpeg())
    (process,) = decoders(others)
    sound(jpeg())
    assert decoders(others) == [process]
    outcomes = sound.decode_all([jpeg(), b"GIF89a", jpeg()])
    for _ in range(3):  # as they are wanted: nobody asks for a fourth
        next(outcomes)
    del outcomes
    assert not gone(process)
    assert decoders(others) == [process]


def test_what_goes_wrong_in_the_worker_fails_each_image_for_itself(tmp_path: Path) -> None:
    program = tmp_path / "decode"
    program.symlink_to(sys.executable)
    with closing(Decoder([str(program), "-c", "pass"])) as decode:
        program.unlink()
        outcomes = list(decode.decode_all([jpeg(), jpeg()]))
    assert [type(outcome) for outcome in outcomes] == [FileNotFoundError] * 2


def test_an_endless_decode_costs_those_beside_it_no_more_than_its_time() -> None:
    with closing(Decoder(faulty(), timeout_s=5)) as decode:
        outcomes = decode.decode_all([jpeg(), b"endless", jpeg((30, 20))])
        first = next(outcomes)  # each as soon as it is there
        endless, last = outcomes
    assert not isinstance(first, Exception)
    assert isinstance(endless, DecodeError)
    assert not isinstance(last, Exception)
    assert (first.size, last.size) == ((64, 48), (30, 20))
    assert "longer than 5 s" in str(endless)


def test_images_that_are_not_to_be_decoded_cost_no_process_its_place(
    sound: Decoder, others: set[int]
) -> None:
    sound(jpeg())
    (process,) = decoders(others)
    asked: list[int] = []

    def check(number: int) -> None:
        asked.append(number)
        raise KeyError(number)

    outcomes = list(sound.decode_all([jpeg(), jpeg()], check))
    assert [(type(each), str(each)) for each in outcomes] == [(KeyError, "0"), (KeyError, "1")]
    assert asked == [0, 1]
    assert decoders(others) == [process]
    assert not gone(process)


def test_images_behind_those_of_their_process_that_are_not_to_be_decoded_are_decoded(
    decode: Decoder,
) -> None:
    """Also where the process has them already."""

    def check(number: int) -> None:
        if number in (1, 3):
            raise KeyError(number)

    images = [jpeg((32, 16)), b"endless", jpeg((30, 20)), b"endless", jpeg((28, 12))]
    outcomes = list(decode.decode_all(images, check))
    assert [type(each) for each in outcomes[1::2]] == [KeyError, KeyError]
    sizes = [each.size for each in outcomes if not isinstance(each, Exception)]
    assert sizes == [(32, 16), (30, 20), (28, 12)]


def test_a_process_that_is_killed_meanwhile_costs_nothing(sound: Decoder, others: set[int]) -> None:
    sound(jpeg())
    (process,) = decoders(others)
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: gone(process), "the process being gone")
    assert sound(jpeg()).size == (64, 48)


def test_a_process_that_is_killed_in_mid_decode_is_replaced(
    sound: Decoder, others: set[int]
) -> None:
    sound(jpeg())
    (process,) = decoders(others)
    os.kill(process, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        decoding = pool.submit(sound, jpeg())
        os.kill(process, signal.SIGKILL)
        assert decoding.result(30).size == (64, 48)


def test_a_process_that_no_longer_answers_is_replaced(others: set[int]) -> None:
    with closing(Decoder(timeout_s=5)) as decode:
        decode(jpeg())
        (process,) = decoders(others)
        os.kill(process, signal.SIGSTOP)
        with pytest.raises(DecodeError, match="longer than 5 s"):
            decode(jpeg() + bytes(10_000_000))  # more than its socket holds
        assert gone(process)
        assert decode(jpeg()).size == (64, 48)


def test_threads_decode_side_by_side(sound: Decoder, others: set[int]) -> None:
    sizes = [(16 + 3 * n, 8 + 2 * n) for n in range(40)]
    images = [jpeg(size) for size in sizes]
    together = threading.Barrier(4)

    def run(number: int) -> list[tuple[int, int]]:
        together.wait(30)
        return [sound(image).size for image in images[number::4]]

    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(run, range(4)))
    assert decoded == [sizes[number::4] for number in range(4)]
    assert len(decoders(others)) <= 4


def test_an_image_that_needs_too_much_memory_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (7000, 7000), (1, 2, 3, 4)).save(buffer, "PNG", compress_level=1)
    little = faulty("process.MAX_MEMORY_BYTES = 500_000_000")
    with closing(Decoder(little, timeout_s=30)) as decode:
        with pytest.raises(DecodeError, match="more memory than a decoder may have"):
            decode(buffer.getvalue())
        assert decode(jpeg()).size == (64, 48)


def test_it_is_the_worker_alone_that_ends_a_process(decode: Decoder) -> None:
    with pytest.raises(DecodeError, match="send one of"):
        decode(b"torn")


@pytest.mark.parametrize("image", [b"", b"endless"], ids=["idle", "in mid decode"])
def test_a_process_ends_with_its_worker(image: bytes) -> None:
    program = f"""
import sys, threading
from expound_worker.decoding.decoder import Decoder
decode = Decoder({faulty("process._ALARM_S = 2")!r}, timeout_s=60)
print("started", flush=True)
decode({image!r} or sys.stdin.buffer.read())
"""
    worker = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"started\n"
        (process,) = children(worker.pid)
        worker.kill()
    wait_until(lambda: gone(process), "the decoding process being gone", 20)


def test_a_process_knows_no_secret_and_loads_no_model(
    monkeypatch: pytest.MonkeyPatch, others: set[int]
) -> None:
    monkeypatch.setenv("EXPOUND_REDIS_URL", "redis://:fe8sG2xQ@127.0.0.1")
    # Of the manifests for Kubernetes, and of an operator's own.
    for name in ("REDIS_PASSWORD", "HF_TOKEN", "PYTHON_KEYRING"):
        monkeypatch.setenv(name, "fe8sG2xQ")
    with closing(Decoder()) as decode:
        decode(jpeg())
        (process,) = decoders(others)
        # Compared outside of the assertion, which would print the whole of it.
        told = b"fe8sG2xQ" in Path(f"/proc/{process}/environ").read_bytes()
        loaded = "libtorch" in Path(f"/proc/{process}/maps").read_text()
        assert not told
        assert not loaded
