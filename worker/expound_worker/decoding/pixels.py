"""Encoded images to upright RGB, by Pillow; runs in the decoding process."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from expound_worker.decoding.errors import DecodeError

FORMATS = ("JPEG", "PNG", "WebP", "BMP", "TIFF")
MAX_BYTES = 33_554_432
MAX_PIXELS = 50_000_000
MAX_FRAMES = 1000

_TOO_MANY_PIXELS = (
    f"has more than the {MAX_PIXELS:,} pixels allowed; scale it down before sending it"
)
_TOO_MANY_FRAMES = f"has more than the {MAX_FRAMES:,} frames allowed; send the one that you mean"


def decode(encoded: bytes) -> Image.Image:
    """Decodes an image to upright RGB; of several frames or pages, the first.

    The format is told from the content. Transparency is put over white, 16 bits are scaled to 8.

    Raises:
        DecodeError: it is none of `FORMATS`, is damaged, needs more memory than there is, or is
            above `MAX_BYTES`, `MAX_PIXELS` or `MAX_FRAMES`, of which the latter two are told from
            its headers before anything is decoded.
    """
    if len(encoded) > MAX_BYTES:
        raise DecodeError(f"has {len(encoded):,} bytes, more than the {MAX_BYTES:,} allowed")
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        _check_size(image)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        allowed = ", ".join(FORMATS)
        raise DecodeError(
            f"is no image, or of a format that is not read; send one of {allowed}"
        ) from error
    except Image.DecompressionBombError as error:
        raise DecodeError(_TOO_MANY_PIXELS) from error
    except MemoryError as error:
        raise DecodeError(
            "needs more memory than a decoder may have; scale it down before sending it"
        ) from error
    except Exception as error:
        # Whatever a decoder trips over, it is the image that is wrong.
        what = str(error) or type(error).__name__
        raise DecodeError(f"is damaged or incomplete: {what}") from error


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DecodeError(_TOO_MANY_PIXELS)
    if _has_frame(image, MAX_FRAMES):
        raise DecodeError(_TOO_MANY_FRAMES)


def _has_frame(image: Image.Image, index: int) -> bool:
    """Whether there is a frame of that index; the image stands at its first one afterwards."""
    if image.format != "TIFF":
        count: int = getattr(image, "n_frames", 1)
        return count > index
    try:
        # The pages of a TIFF are a chain, which to count is to follow to its end.
        image.seek(index)
    except EOFError:
        return False
    finally:
        image.seek(0)
    return True


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_16_bits(image).convert("RGB")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        white = Image.new("RGBA", transparent.size, "white")
        return Image.alpha_composite(white, transparent).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, which Pillow would clip at 255 rather than scale."""
    values = np.asarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise DecodeError("holds NaN or infinity")
    scale = 255.0 if image.mode == "F" and values.max(initial=0) <= 1 else 255.0 / 65535.0
    return Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8))
