"""The client cuts an image exactly as the worker does."""

import io

import numpy as np
import pytest
from PIL import Image

from expound.v1 import explanation_pb2, model_service_pb2
from expound_client import images
from expound_client.errors import ExpoundError
from expound_client.images import SeenImage
from expound_client.inputs import to_input
from expound_client.models import Model
from expound_worker.decoding.pixels import decode
from expound_worker.images import prepare
from expound_worker.models.preprocessing import Preprocessing
from tests.client import canned


def model_of(preprocessing: Preprocessing) -> Model:
    card = model_service_pb2.Model(
        input_shape=preprocessing.input_shape,
        preprocessing_steps=model_service_pb2.Preprocessing(
            resize=preprocessing.resize or 0,
            interpolation=preprocessing.interpolation,
            mean=preprocessing.mean,
            std=preprocessing.std,
        ),
    )
    return Model.from_proto(card)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(45, 30), (30, 45), (31, 31), (9, 200)])
@pytest.mark.parametrize("resize", [None, 16, 25, 10, 13])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_seen_image_is_what_entered_the_network(
    size: tuple[int, int], resize: int | None, interpolation: str, channels: int
) -> None:
    preprocessing = Preprocessing(
        input_shape=(channels, 16, 12),
        resize=resize,
        mean=(0.4, 0.5, 0.6)[:channels],
        std=(0.2, 0.3, 0.4)[:channels],
        interpolation=interpolation,
    )
    source = to_input(webp(noise(*size).convert("RGBA")))
    entered = prepare(source, 0, preprocessing, decode).numpy()
    mean, std = (
        np.reshape(preprocessing.mean, (-1, 1, 1)),
        np.reshape(preprocessing.std, (-1, 1, 1)),
    )
    expected = np.round((entered * std + mean) * 255)
    seen = np.asarray(SeenImage(source, model_of(preprocessing)).image)
    assert np.array_equal(np.moveaxis(seen, -1, 0), np.broadcast_to(expected, (3, 16, 12)))


def _turned() -> bytes:
    image, buffer = noise(20, 12), io.BytesIO()
    image.getexif()[0x0112] = 6  # Orientation: to be turned by 90 degrees.
    image.save(buffer, "PNG", exif=image.getexif())
    return buffer.getvalue()


def _saved(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _half_transparent() -> Image.Image:
    image = noise(20, 12).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize(
    "encoded",
    [
        _turned(),
        _saved(_half_transparent()),
        _saved(_half_transparent().convert("LA")),
        _saved(Image.fromarray(np.linspace(0, 65535, 240).reshape(12, 20).astype(np.uint16))),
        _saved(Image.fromarray(np.linspace(0, 1, 240, dtype=np.float32).reshape(12, 20)), "TIFF"),
    ],
    ids=["turned", "transparent", "grey and transparent", "16 bits", "floats"],
)
def test_a_file_is_drawn_as_the_worker_decodes_it(encoded: bytes) -> None:
    assert np.array_equal(np.asarray(images.decode(encoded)), np.asarray(decode(encoded)))


def test_what_a_card_leaves_out_is_what_the_network_does_not_need() -> None:
    card = canned.card()
    card.input_shape[:] = [1, 8, 8]
    card.preprocessing_steps.CopyFrom(model_service_pb2.Preprocessing(interpolation="new"))
    model = Model.from_proto(card)
    values = np.linspace(0, 1, 64).reshape(1, 8, 8)
    drawn = np.asarray(SeenImage(to_input(values), model).image)
    assert np.array_equal(drawn, np.repeat(np.round(values * 255).reshape(8, 8, 1), 3, axis=2))
    assert SeenImage(to_input(webp(noise(20, 12))), model).image.size == (8, 8)


def test_a_model_input_is_drawn_as_the_image_it_stands_for() -> None:
    model = Model.from_proto(canned.card())
    pixels = np.asarray(noise(8, 8))
    values = (np.moveaxis(pixels, -1, 0) / 255 - 0.5) / 0.25
    assert np.array_equal(np.asarray(SeenImage(to_input(values), model).image), pixels)


def test_an_image_that_is_not_known_says_what_to_do() -> None:
    seen = SeenImage(None, Model.from_proto(canned.card()))
    assert not seen.known
    with pytest.raises(ExpoundError, match=r"overlay\(image="):
        _ = seen.image


def test_a_card_without_preprocessing_gives_no_picture_rather_than_a_wrong_one() -> None:
    card = canned.card()
    card.ClearField("preprocessing_steps")
    seen = SeenImage(explanation_pb2.Input(image=canned.png()), Model.from_proto(card))
    assert not seen.known
    with pytest.raises(ExpoundError, match="preprocessed"):
        _ = seen.image
