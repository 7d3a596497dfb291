"""Images that are meant to crash, fill or hold up what reads them; made here, by code."""

import io
import pickle
import random
import struct
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from tests import photos

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
CUTS = 14
FLIPS = 14

_TAG_TYPES = {"short": 3, "long": 4}
_PNG = b"\x89PNG\r\n\x1a\n"


def hostile_images() -> dict[str, bytes]:
    """The corpus by name; some can be decoded all the same."""
    return dict(
        image
        for some in (
            _cut_off(),
            _flipped(),
            _misnamed(),
            _noise(),
            _huge(),
            _bombs(),
            _several_frames(),
            _odd_pixels(),
            _odd_metadata(),
            _tiffs(),
            _bitmaps(),
            _jpegs(),
        )
        for image in some
    )


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """The bytes of an image in a format."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def slow_jpeg() -> bytes:
    """A progressive JPEG whose last scan comes so often that it takes seconds to decode."""
    plain = encoded(Image.new("L", (1000, 1000)), "JPEG", progressive=True)
    last = plain.rindex(b"\xff\xda")
    return plain[:last] + plain[last:-2] * 5_000 + plain[-2:]


def png(width: int, height: int, data: bytes, *chunks: bytes, kind: int = 2) -> bytes:
    """A PNG of 8 bits with this header, chunks before its data, and this data."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = (header, *chunks, b"IDAT" + zlib.compress(data, 9), b"IEND")
    return _PNG + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in parts
    )


def tiff(
    changes: Mapping[int, int] | None = None, next_page: int = 0, data: bytes = bytes(64 * 3)
) -> bytes:
    """A TIFF of 8x8 pixels with one strip behind its only directory, some of its tags changed."""
    tags = {
        256: ("short", 8), 257: ("short", 8), 258: ("short", 8), 259: ("short", 1),
        262: ("short", 2), 273: ("long", 0), 277: ("short", 3), 278: ("short", 8),
        279: ("long", len(data)),
    }  # fmt: skip
    tags[273] = ("long", 8 + 2 + 12 * len(tags) + 4)
    for number, value in (changes or {}).items():
        tags[number] = ("short" if value < 65536 else "long", value)
    directory = struct.pack("<H", len(tags))
    for number, (kind, value) in sorted(tags.items()):
        directory += struct.pack("<HHII", number, _TAG_TYPES[kind], 1, value)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", next_page) + data


def _photo() -> Image.Image:
    return Image.fromarray(photos.chelsea()).resize((96, 64))


def _cut_off() -> Iterator[tuple[str, bytes]]:
    for form in FORMATS:
        whole = encoded(_photo(), form)
        for cut in range(CUTS):
            length = max(1, len(whole) * cut // CUTS)
            yield f"{form} cut off after {length} bytes", whole[:length]


def _flipped() -> Iterator[tuple[str, bytes]]:
    for form in FORMATS:
        whole = encoded(_photo(), form)
        for seed in range(FLIPS):
            chance = random.Random(seed)
            damaged = bytearray(whole)
            for _ in range(2 ** (seed % 7)):
                # Every other one in the header, where it matters most.
                end = len(damaged) if seed % 2 else min(len(damaged), 256)
                damaged[chance.randrange(end)] ^= 1 << chance.randrange(8)
            yield f"{form} with bits flipped, seed {seed}", bytes(damaged)


def _misnamed() -> Iterator[tuple[str, bytes]]:
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n{} loop\n"
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "PSD", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 60_000, 60_000, 8, 3)
    yield "PDF", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n"
    yield "pickle", pickle.dumps({"weights": [1.0]})
    yield "zip", b"PK\3\4" + bytes(100)
    yield "FITS", b"SIMPLE  =                    T" + bytes(2850)
    yield "HTML", b"<html><script>while(1);</script></html>"
    yield "URL", b"http://169.254.169.254/latest/meta-data"
    yield "path", b"/etc/passwd"
    for form in ("GIF", "ICO", "PPM", "TGA", "SGI", "JPEG2000", "DDS", "PCX"):
        yield form, encoded(_photo(), form)
    for form in FORMATS:
        yield f"{form} behind the magic of PNG", _PNG + encoded(_photo(), form)
        yield f"{form} behind the magic of JPEG", b"\xff\xd8\xff" + encoded(_photo(), form)


def _noise() -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "one byte", b"\xff"
    yield "zeros", bytes(1_000_000)
    for seed in range(10):
        yield f"noise, seed {seed}", random.Random(seed).randbytes(2000)
        yield f"PNG of noise, seed {seed}", _PNG + random.Random(seed).randbytes(2000)


def _huge() -> Iterator[tuple[str, bytes]]:
    for side in (7072, 60_000, 2**31 - 1):
        yield f"PNG that declares {side}x{side}", png(side, side, bytes(1000))
        yield f"TIFF that declares {side}x{side}", tiff({256: side, 257: side})
        small = encoded(_photo(), "BMP")
        sides = struct.pack("<ii", side, side)
        yield f"BMP that declares {side}x{side}", small[:18] + sides + small[26:]
    jpeg = encoded(_photo(), "JPEG")
    start = jpeg.index(b"\xff\xc0") + 5
    yield "JPEG that declares 65535x65535", jpeg[:start] + b"\xff" * 4 + jpeg[start + 4 :]
    canvas = b"VP8X" + struct.pack("<II", 10, 2) + b"\xff\xff\xff" * 2
    yield "WebP that declares 2^24x2^24", b"RIFF" + struct.pack("<I", 22) + b"WEBP" + canvas
    yield "long and thin", encoded(Image.new("RGB", (60_000, 1)), "PNG")


def _bombs() -> Iterator[tuple[str, bytes]]:
    yield "50 million black pixels", png(7071, 7071, bytes(7071 * 7072), kind=0)
    yield "PNG with 100 MB behind 100x100 pixels", png(100, 100, bytes(100_000_000))
    packed = zlib.compress(bytes(50_000_000), 9)
    yield "PNG with 50 MB of text", png(8, 8, bytes(200), b"zTXta\0\0" + packed)
    yield "PNG with a 50 MB colour profile", png(8, 8, bytes(200), b"iCCPa\0\0" + packed)
    texts = [b"zTXta\0\0" + zlib.compress(bytes(1_000_000), 9)] * 200
    yield "PNG with 200 texts of 1 MB", png(8, 8, bytes(200), *texts)
    yield "PNG with 20,000 chunks", png(8, 8, bytes(200), *[b"tEXta\0b"] * 20_000)
    yield "TIFF with 50 MB in its strip", tiff({259: 8}, data=packed)


def _several_frames() -> Iterator[tuple[str, bytes]]:
    for form in ("PNG", "WEBP", "TIFF"):
        for count in (3, 1200):
            others = [Image.new("RGB", (8, 8), (0, n // 256, n % 256)) for n in range(1, count)]
            first = Image.new("RGB", (8, 8), "red")
            options = {"save_all": True, "append_images": others, "lossless": True}
            yield f"{form} of {count} frames", encoded(first, form, **options)


def _odd_pixels() -> Iterator[tuple[str, bytes]]:
    photo = _photo()
    yield "CMYK JPEG", encoded(photo.convert("CMYK"), "JPEG")
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F"):
        yield f"TIFF of mode {mode}", encoded(photo.convert("L").convert(mode) if mode in "IF"
                                              else photo.convert(mode), "TIFF")  # fmt: skip
    not_finite = np.full((8, 8), np.nan, np.float32)
    yield "TIFF of NaN", encoded(Image.fromarray(not_finite), "TIFF")
    sixteen = np.linspace(0, 65535, 64 * 64, dtype=np.uint16).reshape(64, 64)
    yield "PNG of 16 bits", encoded(Image.fromarray(sixteen), "PNG")
    yield "PNG of a palette that is missing", png(8, 8, bytes(100), kind=3)
    yield "PNG of no known colours", png(8, 8, bytes(100), kind=5)
    yield "PNG of no pixels", png(0, 0, b"")


def _odd_metadata() -> Iterator[tuple[str, bytes]]:
    for orientation in (0, 5, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"EXIF orientation {orientation}", encoded(_photo(), "JPEG", exif=exif)
    loop = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 8)
    for name, block in {
        "EXIF that points at itself": loop,
        "EXIF cut off": loop[:16],
        "EXIF of zeros": b"Exif\0\0" + bytes(60_000),
        "EXIF of a billion values": b"Exif\0\0II*\0" + struct.pack(
            "<IHHHIII", 8, 1, 0x0112, 3, 1_000_000_000, 8, 0
        ),
    }.items():  # fmt: skip
        yield name, encoded(_photo(), "JPEG", exif=block)
    yield "colour profile of noise", encoded(_photo(), "JPEG", icc_profile=bytes(range(256)) * 9)
    comment = b"\xff\xfe" + struct.pack(">H", 65_535) + bytes(65_533)
    jpeg = encoded(_photo(), "JPEG")
    yield "JPEG with 13 MB of comments", jpeg[:2] + comment * 200 + jpeg[2:]


def _tiffs() -> Iterator[tuple[str, bytes]]:
    yield "TIFF whose next page is itself", tiff(next_page=8)
    pages = struct.pack("<HI", 0, 8)
    yield "TIFF of pages in a ring", tiff(next_page=8 + 2 + 12 * 9 + 4 + 192) + pages
    yield "TIFF whose next page is beyond its end", tiff(next_page=2**31)
    for number, value in (
        (258, 0), (258, 65_535), (259, 7), (259, 34_712), (262, 99), (273, 2**31), (277, 0),
        (277, 65_535), (278, 0), (279, 2**31), (317, 3), (322, 0), (339, 9), (284, 2),
    ):  # fmt: skip
        yield f"TIFF with tag {number} of {value}", tiff({number: value})
    yield "TIFF of 65535 tags", b"II*\0" + struct.pack("<IH", 8, 65_535) + bytes(12 * 65_535)


def _bitmaps() -> Iterator[tuple[str, bytes]]:
    whole = encoded(_photo(), "BMP")
    for name, start, value in (
        ("whose pixels begin beyond its end", 10, 2**31 - 1),
        ("with a header of 2 GB", 14, 2**31 - 1),
        ("upside down", 22, 2**32 - 64),
        ("of the least height there is", 22, 2**31),
        ("of 3 bits", 28, 3),
        ("of run lengths", 30, 1),
        ("of 2^31 colours", 46, 2**31),
    ):
        yield f"BMP {name}", whole[:start] + struct.pack("<I", value) + whole[start + 4 :]


def _jpegs() -> Iterator[tuple[str, bytes]]:
    whole = encoded(_photo(), "JPEG")
    start = whole.index(b"\xff\xc0") + 5
    yield "JPEG of no rows", whole[:start] + b"\0\0" + whole[start + 2 :]
    yield "JPEG of two images", whole + whole
    progressive = encoded(Image.new("L", (2000, 2000)), "JPEG", progressive=True)
    scan = progressive.rindex(b"\xff\xda")
    scans = progressive[:scan] + progressive[scan:-2] * 500 + b"\xff\xd9"
    yield "JPEG of 500 scans", scans
