"""Images of every form become upright RGB, or a clear error."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from expound.reasons import Reason
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2
from expound_worker.images import InputError, decode, prepare
from expound_worker.models.preprocessing import Preprocessing

PHOTO = Image.fromarray(skimage.data.chelsea())
RGB_4X4 = Preprocessing((3, 4, 4), None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "nearest")


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


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
    assert np.array_equal(np.asarray(decode(encoded(PHOTO, form), "f")), np.asarray(PHOTO))


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_give_nearly_the_pixels_that_went_in(form: str) -> None:
    decoded = np.asarray(decode(encoded(PHOTO, form), "f"), dtype=float)
    assert np.abs(decoded - np.asarray(PHOTO)).mean() < 8


def test_transparency_is_put_over_white() -> None:
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.putpixel((0, 0), (200, 0, 0, 255))
    pixels = np.asarray(decode(encoded(image), "f"))
    assert tuple(pixels[0, 0]) == (200, 0, 0)
    assert tuple(pixels[3, 3]) == (255, 255, 255)


def test_palette_and_grey_become_rgb() -> None:
    for mode in ("P", "L", "LA", "1"):
        image = decode(encoded(PHOTO.convert(mode)), "f")
        expected = PHOTO.convert(mode).convert("RGB")
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), np.asarray(expected))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    pixels = np.asarray(decode(encoded(Image.fromarray(grey)), "f"))
    assert np.array_equal(pixels[..., 0].ravel(), np.arange(256))


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = PHOTO.rotate(90, expand=True)
    decoded = decode(encoded(sideways, "TIFF", exif=exif), "f")
    assert decoded.size == PHOTO.size
    assert np.array_equal(np.asarray(decoded), np.asarray(PHOTO))


def test_of_an_animation_the_first_frame_is_taken() -> None:
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    animated = encoded(red, "GIF", save_all=True, append_images=[blue])
    assert tuple(np.asarray(decode(animated, "f"))[0, 0]) == (255, 0, 0)


@pytest.mark.parametrize(
    "bad",
    [b"", b"no image at all", encoded(PHOTO, "JPEG")[:5000], encoded(PHOTO)[:5000], b"%!PS-Adobe"],
    ids=["empty", "text", "truncated JPEG", "truncated PNG", "PostScript"],
)
def test_what_is_no_image_is_refused_with_its_field(bad: bytes) -> None:
    with pytest.raises(InputError) as raised:
        decode(bad, "inputs[3].image")
    assert raised.value.field == "inputs[3].image"
    assert raised.value.reason is Reason.INVALID_IMAGE


def test_a_png_that_declares_60000_by_60000_is_refused_from_its_header() -> None:
    bad = huge_png()
    tracemalloc.start()
    with pytest.raises(InputError, match="pixels allowed"):
        decode(bad, "f")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_an_image_too_long_and_thin_to_resize_is_refused() -> None:
    preprocessing = Preprocessing((3, 224, 224), 256, (0.5,) * 3, (0.5,) * 3)
    source = explanation_pb2.Input(image=encoded(Image.new("RGB", (60_000, 2))))
    with pytest.raises(InputError, match="long and thin"):
        prepare(source, 0, preprocessing)


def test_a_float_tensor_enters_the_network_as_it_is() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    prepared = prepare(explanation_pb2.Input(tensor=to_tensor(values)), 0, RGB_4X4)
    assert torch.equal(prepared, torch.from_numpy(values))


def test_a_byte_tensor_is_an_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    as_tensor = prepare(explanation_pb2.Input(tensor=to_tensor(pixels)), 0, RGB_4X4)
    as_png = explanation_pb2.Input(image=encoded(Image.fromarray(pixels)))
    assert torch.equal(as_tensor, prepare(as_png, 0, RGB_4X4))
