"""The decoding process: ``python -m expound_worker.decoding.process``, its socket as stdin.

It decodes one image after the other, and ends when the worker does.
"""

import resource
import signal
import socket
import sys
import warnings
from collections.abc import Iterator

from PIL import Image

from expound_worker.decoding.errors import DecodeError
from expound_worker.decoding.pixels import MAX_PIXELS, decode
from expound_worker.decoding.wire import ANSWER, LENGTH, PIXEL_BYTES, RAW_MODE, TIMEOUT_S, receive
from expound_worker.process.memory import keep_freed_memory

MAX_MEMORY_BYTES = 2 * 1024**3
_KEPT_BYTES = 128 * 1024**2
_BAND_BYTES = 1024**2
_ALARM_S = TIMEOUT_S + 2


def main() -> None:
    """Answers until the worker closes the connection."""
    _limit()
    Image.init()
    with socket.socket(fileno=sys.stdin.fileno()) as connection:
        try:
            while True:
                _serve(connection)
        except (EOFError, ConnectionError):
            return


def _limit() -> None:
    """Takes from this process what no image needs."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    keep_freed_memory(_KEPT_BYTES)
    # The worker ends this process, and may still need it when it is itself told to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("ignore")


def _serve(connection: socket.socket) -> None:
    """Decodes one image. Raises EOFError or ConnectionError when the worker is gone."""
    (size,) = LENGTH.unpack(receive(connection, LENGTH.size))
    encoded = bytes(receive(connection, size))
    # The kernel's own limit, for when the worker dies while a decode does not end.
    signal.alarm(_ALARM_S)
    for part in _answer(encoded):
        connection.sendall(part)
    signal.alarm(0)


def _answer(encoded: bytes) -> Iterator[bytes]:
    try:
        image = decode(encoded)
    except DecodeError as error:
        message = str(error).encode()
        yield ANSWER.pack(False, len(message), 0) + message
        return
    header = ANSWER.pack(True, image.width, image.height)
    # The worker receives one band while the next is made.
    rows = max(1, _BAND_BYTES // (image.width * PIXEL_BYTES))
    for top in range(0, image.height, rows):
        band = (0, top, image.width, min(top + rows, image.height))
        yield header + image.crop(band).tobytes("raw", RAW_MODE)
        header = b""


if __name__ == "__main__":
    main()
