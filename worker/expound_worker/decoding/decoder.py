"""The worker's side of its decoding processes."""

import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence

from PIL import Image

from expound_worker.decoding.errors import DecodeError
from expound_worker.decoding.wire import ANSWER, LENGTH, PIXEL_BYTES, RAW_MODE, TIMEOUT_S, receive

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "expound_worker.decoding.process")
_SECRET_PREFIX = "EXPOUND_"


class Decoder:
    """Decodes images in processes of their own, as many as there are threads that decode at once.

    A process that crashes or overruns costs its image alone: it is killed, and another takes its
    place.
    """

    def __init__(self, command: Sequence[str] = COMMAND, timeout_s: float = TIMEOUT_S) -> None:
        """Starts the first process, without waiting for it.

        Args:
            command: starts a decoding process.
            timeout_s: how long it may take over one image.
        """
        self._command = command
        self._timeout_s = timeout_s
        self._idle = deque([_Process(command)])

    def __call__(self, encoded: bytes) -> Image.Image:
        """Decodes an image to upright RGB, as `pixels.decode` does; from any thread.

        Raises:
            DecodeError: it cannot be read, or it has ended two processes, or held one too long.
        """
        try:
            return self._decode(encoded)
        except _CrashError:
            # It may have been the system that ended the process, for want of memory.
            logger.warning("a decoding process has ended; its image is tried once more")
        try:
            return self._decode(encoded)
        except _CrashError as error:
            raise DecodeError(
                "ends the program that reads it; save it anew, with other software"
            ) from error

    def close(self) -> None:
        """Ends the processes that are idle."""
        while self._idle:
            self._idle.popleft().kill()

    def _decode(self, encoded: bytes) -> Image.Image:
        process = self._take()
        try:
            image = process.decode(encoded, time.monotonic() + self._timeout_s)
        except DecodeError:
            self._idle.append(process)
            raise
        except TimeoutError as error:
            process.kill()
            raise DecodeError(
                f"takes longer than {self._timeout_s:g} s to decode; make it smaller, or save it "
                "anew"
            ) from error
        except BaseException:
            process.kill()
            raise
        self._idle.append(process)
        return image

    def _take(self) -> "_Process":
        """An idle process, or a new one."""
        while True:
            try:
                process = self._idle.pop()
            except IndexError:
                return _Process(self._command)
            if process.alive():
                return process
            process.kill()


class _CrashError(Exception):
    """The process has ended before it answered."""


class _Process:
    """One decoding process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._connection, theirs = socket.socketpair()
        # What decodes strangers' images is not told where Redis is, nor its password.
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIX)
        }
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**environment, "OPENBLAS_NUM_THREADS": "1"},
            )

    def alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, encoded: bytes, deadline_s: float) -> Image.Image:
        """Decodes an image until a time of `time.monotonic`.

        Raises:
            DecodeError: it cannot be read.
            TimeoutError: that took too long.
            _CrashError: the process has ended.
        """
        try:
            # In one piece, so that the process is woken once.
            self._send(LENGTH.pack(len(encoded)) + encoded, deadline_s)
            decoded, width, height = ANSWER.unpack(self._receive(ANSWER.size, deadline_s))
            if not decoded:
                raise DecodeError(self._receive(width, deadline_s).decode())
            pixels = self._receive(width * height * PIXEL_BYTES, deadline_s)
        except (EOFError, ConnectionError) as error:
            raise _CrashError from error
        return Image.frombytes("RGB", (width, height), pixels, "raw", RAW_MODE)

    def kill(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _send(self, data: bytes, deadline_s: float) -> None:
        self._connection.settimeout(_left(deadline_s))
        self._connection.sendall(data)

    def _receive(self, size: int, deadline_s: float) -> bytearray:
        self._connection.settimeout(_left(deadline_s))
        return receive(self._connection, size)


def _left(deadline_s: float) -> float:
    left = deadline_s - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
