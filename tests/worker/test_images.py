"""Images of every form become upright RGB that fits the model, or a clear error."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

from expound.reasons import Reason
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2
from expound_worker.decoding.errors import DecodeError
from expound_worker.decoding.pixels import MAX_FRAMES, decode
from expound_worker.images import InputError, doubts, prepare
from expound_worker.models.preprocessing import Preprocessing

PHOTO = Image.fromarray(skimage.data.chelsea())
NORMALIZED = Preprocessing((3, 4, 4), None, (0.5, 0.4, 0.5), (0.25, 0.25, 0.5))
RGB_4X4 = Preprocessing((3, 4, 4), None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "nearest")


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def frames(form: str, count: int) -> bytes:
    """A red frame first, then others that all differ."""
    first = Image.new("RGB", (4, 4), "red")
    others = [Image.new("RGB", (4, 4), (0, n // 256, n % 256)) for n in range(1, count)]
    return encoded(first, form, save_all=True, append_images=others, lossless=True)


def huge_png() -> bytes:
    """A PNG whose header declares 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (chunk, data, b"IEND")
    )


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels_that_went_in(form: str) -> None:
    assert np.array_equal(np.asarray(decode(encoded(PHOTO, form))), np.asarray(PHOTO))


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_lossy_formats_give_nearly_the_pixels_that_went_in(form: str) -> None:
    decoded = np.asarray(decode(encoded(PHOTO, form)), dtype=float)
    assert np.abs(decoded - np.asarray(PHOTO)).mean() < 8


def test_transparency_is_put_over_white() -> None:
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.putpixel((0, 0), (200, 0, 0, 255))
    pixels = np.asarray(decode(encoded(image)))
    assert tuple(pixels[0, 0]) == (200, 0, 0)
    assert tuple(pixels[3, 3]) == (255, 255, 255)


def test_palette_and_grey_become_rgb() -> None:
    for mode in ("P", "L", "LA", "1"):
        image = decode(encoded(PHOTO.convert(mode)))
        expected = PHOTO.convert(mode).convert("RGB")
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), np.asarray(expected))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    pixels = np.asarray(decode(encoded(Image.fromarray(grey))))
    assert np.array_equal(pixels[..., 0].ravel(), np.arange(256))


def test_grey_of_floats_is_scaled_from_1_and_must_be_finite() -> None:
    grey = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    pixels = np.asarray(decode(encoded(Image.fromarray(grey), "TIFF")))
    assert np.array_equal(pixels[..., 0].ravel(), np.arange(256))
    grey[3, 3] = np.nan
    with pytest.raises(DecodeError, match="NaN or infinity"):
        decode(encoded(Image.fromarray(grey), "TIFF"))


def test_sixteen_bits_that_are_nearly_black_stay_so() -> None:
    grey = np.ones((16, 16), dtype=np.uint16)
    assert not np.asarray(decode(encoded(Image.fromarray(grey)))).any()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_exif_rotation_is_applied(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = PHOTO.rotate(90, expand=True)
    decoded = decode(encoded(sideways, form, exif=exif))
    assert decoded.size == PHOTO.size
    assert np.abs(np.asarray(decoded, dtype=float) - np.asarray(PHOTO)).mean() < 8


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken(form: str) -> None:
    assert tuple(np.asarray(decode(frames(form, 3)))[0, 0]) == (255, 0, 0)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_more_frames_than_allowed_are_refused(form: str) -> None:
    assert decode(frames(form, MAX_FRAMES)).size == (4, 4)
    with pytest.raises(DecodeError, match="1,000 frames"):
        decode(frames(form, MAX_FRAMES + 1))


@pytest.mark.parametrize(
    "bad",
    [b"", b"no image at all", b"%!PS-Adobe", encoded(PHOTO, "GIF"), encoded(PHOTO, "ICO")],
    ids=["empty", "text", "PostScript", "GIF", "ICO"],
)
def test_what_is_of_no_format_that_is_read_is_refused_with_those_that_are(bad: bytes) -> None:
    with pytest.raises(DecodeError, match="send one of JPEG, PNG, WebP, BMP, TIFF"):
        decode(bad)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_what_is_cut_off_is_refused(form: str) -> None:
    whole = encoded(PHOTO, form)
    with pytest.raises(DecodeError, match="damaged or incomplete"):
        decode(whole[: len(whole) // 2])


def test_an_image_of_too_many_bytes_is_refused_unread() -> None:
    with pytest.raises(DecodeError, match="more than the 33,554,432 allowed"):
        decode(encoded(PHOTO, "BMP") + bytes(33_554_432))


def test_what_cannot_be_decoded_is_refused_with_its_field() -> None:
    with pytest.raises(InputError) as raised:
        prepare(explanation_pb2.Input(image=b"no image"), 3, RGB_4X4, decode)
    assert raised.value.field == "inputs[3].image"
    assert raised.value.reason is Reason.INVALID_IMAGE


def test_a_png_that_declares_60000_by_60000_is_refused_from_its_header() -> None:
    bad = huge_png()
    tracemalloc.start()
    with pytest.raises(DecodeError, match="pixels allowed"):
        decode(bad)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_an_image_too_long_and_thin_to_resize_is_refused() -> None:
    preprocessing = Preprocessing((3, 224, 224), 256, (0.5,) * 3, (0.5,) * 3)
    source = explanation_pb2.Input(image=encoded(Image.new("RGB", (60_000, 2))))
    with pytest.raises(InputError, match="long and thin"):
        prepare(source, 0, preprocessing, decode)


def test_a_float_tensor_enters_the_network_as_it_is() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    prepared = prepare(explanation_pb2.Input(tensor=to_tensor(values)), 0, RGB_4X4, decode)
    assert torch.equal(prepared, torch.from_numpy(values))


def test_a_float_tensor_with_its_channels_elsewhere_is_refused() -> None:
    source = explanation_pb2.Input(tensor=to_tensor(np.zeros((4, 4, 3), np.float32)))
    with pytest.raises(InputError, match="must be ") as raised:
        prepare(source, 2, RGB_4X4, decode)
    assert raised.value.field == "inputs[2].tensor.shape"


def test_a_byte_tensor_is_an_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    as_tensor = prepare(explanation_pb2.Input(tensor=to_tensor(pixels)), 0, RGB_4X4, decode)
    as_png = explanation_pb2.Input(image=encoded(Image.fromarray(pixels)))
    assert torch.equal(as_tensor, prepare(as_png, 0, RGB_4X4, decode))


@pytest.mark.parametrize("values", [(0, 255), (-255, 0), (-6.7, 0), (0, 7.1)])
def test_a_float_tensor_far_beyond_the_values_of_images_is_doubted(
    values: tuple[float, float],
) -> None:
    source = explanation_pb2.Input(tensor=to_tensor(_reaching(*values)))
    (doubt,) = doubts(source, 2, NORMALIZED)
    least, largest = (f"{value:.3g}" for value in values)
    assert doubt.startswith(f"inputs[2].tensor reaches from {least} to {largest}, ")
    assert "reach from -2 to 2.4: " in doubt
    assert "uint8" in doubt


def test_an_image_and_a_float_tensor_like_one_are_not_doubted() -> None:
    pixels = np.full((4, 4, 3), 255, np.uint8)
    for source in (
        explanation_pb2.Input(image=encoded(Image.fromarray(pixels))),
        explanation_pb2.Input(tensor=to_tensor(pixels)),
        explanation_pb2.Input(tensor=to_tensor(_reaching(-2, 2.4))),
        explanation_pb2.Input(tensor=to_tensor(_reaching(-6.3, 6.7))),
    ):
        assert not doubts(source, 0, NORMALIZED)


def _reaching(least: float, largest: float) -> NDArray[np.float32]:
    """A model input whose values reach from the one to the other."""
    return np.linspace(least, largest, 48, dtype=np.float32).reshape(3, 4, 4)
