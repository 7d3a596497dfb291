"""The worker's side of its decoding processes."""

import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from PIL import Image

from expound_worker.decoding.errors import DecodeError
from expound_worker.decoding.wire import ANSWER, LENGTH, PIXEL_BYTES, RAW_MODE, TIMEOUT_S, receive

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "expound_worker.decoding.process")
# What Python needs to find its libraries and its temporary folder, and to read texts. What decodes
# strangers' images is told nothing else of the environment: any other name may hold a secret.
_VARIABLES = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
    "PYTHONPATH",
    "PYTHONPYCACHEPREFIX",
    "PYTHONSAFEPATH",
    "PYTHONUSERBASE",
    "TMPDIR",
)
# A socket takes so much that nobody has read yet: neither side waits for the other to send.
_MOST_TOGETHER_BYTES = 65_536


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
        (outcome,) = self.decode_all([encoded])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def decode_all(
        self, encoded: Sequence[bytes], check: Callable[[int], None] = lambda _: None
    ) -> Iterator[Image.Image | Exception]:
        """Decodes images one behind the other, each as a call would; gives what that would raise.

        Small ones go to their process together, so that neither waits for the other at each. What
        comes is large: use it before the next is asked for.

        Args:
            encoded: the images.
            check: called with the index of each before its turn; what it raises is given instead.
                That costs the process where it has the image already.
        """
        done, crashed_at = 0, -1

        def check_next() -> None:
            check(done)

        while done < len(encoded):
            try:
                for outcome in self._decode(_together(encoded[done:]), check_next):
                    done += 1
                    yield outcome
            except _CrashError:
                if done == crashed_at:
                    done += 1
                    what = "ends the program that reads it; save it anew, with other software"
                    yield DecodeError(what)
                else:
                    # It may have been the system that ended the process, for want of memory.
                    logger.warning("a decoding process has ended; its image is tried once more")
                    crashed_at = done
            except Exception as error:
                # Of `check`, or no process can be started, or the pixels find no memory.
                done += 1
                yield error

    def close(self) -> None:
        """Ends the processes that are idle."""
        while self._idle:
            self._idle.popleft().kill()

    def _decode(
        self, encoded: Sequence[bytes], check_next: Callable[[], None]
    ) -> Iterator[Image.Image | DecodeError]:
        """Gives what becomes of images, until one holds the process too long, or ends it.

        Raises what `check_next` raises before one.

        Raises:
            _CrashError: the image behind those of which the outcome was given has ended it.
        """
        check_next()
        process = self._take()
        try:
            process.send(encoded, self._timeout_s)
            for _ in encoded[1:]:
                yield process.receive(self._timeout_s)
                check_next()
            last = process.receive(self._timeout_s)
        except TimeoutError:
            process.kill()
            what = f"takes longer than {self._timeout_s:g} s to decode"
            last = DecodeError(f"{what}; make it smaller, or save it anew")
        except BaseException:
            process.kill()
            raise
        else:
            # Before the last is given: nobody asks what comes behind it.
            self._idle.append(process)
        yield last

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


def _together(encoded: Sequence[bytes]) -> Sequence[bytes]:
    """The first image, and those behind it that can be sent with it."""
    sizes = accumulate(LENGTH.size + len(each) for each in encoded)
    return encoded[: max(1, sum(size <= _MOST_TOGETHER_BYTES for size in sizes))]


class _CrashError(Exception):
    """The process has ended before it answered."""


class _Process:
    """One decoding process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._connection, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env={**environment, "OPENBLAS_NUM_THREADS": "1"},
                )
        except OSError:
            self._connection.close()
            raise

    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, encoded: Sequence[bytes], timeout_s: float) -> None:
        """Sends images. Raises TimeoutError, and _CrashError when the process has ended."""
        # In one piece, so that the process is woken once.
        data = b"".join(part for each in encoded for part in (LENGTH.pack(len(each)), each))
        self._connection.settimeout(timeout_s)
        try:
            self._connection.sendall(data)
        except ConnectionError as error:
            raise _CrashError from error

    def receive(self, timeout_s: float) -> Image.Image | DecodeError:
        """Receives the next of the images sent, or what is wrong with it; raises as `send` does."""
        deadline_s = time.monotonic() + timeout_s
        try:
            decoded, width, height = ANSWER.unpack(self._receive(ANSWER.size, deadline_s))
            if not decoded:
                return DecodeError(self._receive(width, deadline_s).decode())
            pixels = self._receive(width * height * PIXEL_BYTES, deadline_s)
        except (EOFError, ConnectionError) as error:
            raise _CrashError from error
        return Image.frombytes("RGB", (width, height), pixels, "raw", RAW_MODE)

    def kill(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, size: int, deadline_s: float) -> bytearray:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        return receive(self._connection, size)
