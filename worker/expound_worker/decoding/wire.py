"""What the worker and its decoding process say to one another over their socket.

The worker sends the length of an encoded image and its bytes; the process answers with a header
and then either the pixels, row by row, or what is wrong with the image.
"""

import socket
import struct

LENGTH = struct.Struct(">Q")
"""Of a request: bytes of the encoded image."""

ANSWER = struct.Struct(">?II")
"""Of an answer: whether it was decoded; then width and height, else bytes of the message and 0."""

RAW_MODE = "RGBX"
"""How pixels are sent: as Pillow keeps them, so that the worker need not convert them."""

PIXEL_BYTES = 4

TIMEOUT_S = 10
"""How long the worker waits for an answer."""


def receive(connection: socket.socket, size: int) -> bytearray:
    """Receives that many bytes. Raises EOFError when the other side is gone before."""
    received = bytearray(size)
    rest = memoryview(received)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            raise EOFError("the other side has closed the connection")
        rest = rest[count:]
    return received
