"""A TCP proxy between two parts, that delays, cuts, swallows and loses what they say."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.processes import free_port

_CHUNK_BYTES = 65_536


class Proxy:
    """Forwards every connection to a port of 127.0.0.1, as faithfully as it is told to.

    Attributes:
        port: where it listens.
        reply_delay_s: how long each reply is held back.
        swallowing: whether what comes is thrown away, both ways, while connections stay open.
        lost: replies and requests that it was told to lose, and has.
        loses_requests: whether what it is told to lose is a request, and not a reply.
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.reply_delay_s = 0.0
        self.swallowing = False
        self.lost = 0
        self._target = ("127.0.0.1", target_port)
        self._marker: bytes | None = None
        self.loses_requests = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def lose_reply_to(self, marker: bytes) -> None:
        """Loses the reply to the next request that holds these bytes, with its connection."""
        self.loses_requests = False
        self._marker = marker

    def lose_request(self, marker: bytes) -> None:
        """Loses the next request that holds these bytes itself, with its connection."""
        self.loses_requests = True
        self._marker = marker

    def cut(self) -> None:
        """Ends all connections; new ones can be made."""
        with self._lock:
            ended, self._sockets = self._sockets, []
        for end in ended:
            _hang_up(end)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _hang_up(self._listener)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            try:
                callee = socket.create_connection(self._target)
            except OSError:
                _hang_up(caller)
                continue
            with self._lock:
                self._sockets += [caller, callee]
            _Connection(self, caller, callee).start()

    def take(self, request: bytes) -> bool:
        """Whether the reply to this request is to be lost."""
        with self._lock:
            if self._marker is None or self._marker not in request:
                return False
            self._marker = None
            return True


class _Connection:
    def __init__(self, proxy: Proxy, caller: socket.socket, callee: socket.socket) -> None:
        self._proxy = proxy
        self._caller, self._callee = caller, callee
        self._losing = False

    def start(self) -> None:
        for forward in (self._forward_requests, self._forward_replies):
            threading.Thread(target=self._run, args=(forward,), daemon=True).start()

    def _run(self, forward: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            forward()
        for end in (self._caller, self._callee):
            _hang_up(end)

    def _forward_requests(self) -> None:
        while request := self._caller.recv(_CHUNK_BYTES):
            if self._proxy.swallowing:
                continue
            if self._proxy.take(request):
                if self._proxy.loses_requests:
                    self._proxy.lost += 1
                    return
                self._losing = True
            self._callee.sendall(request)

    def _forward_replies(self) -> None:
        while reply := self._callee.recv(_CHUNK_BYTES):
            if self._losing:
                self._proxy.lost += 1
                return
            if self._proxy.reply_delay_s:
                time.sleep(self._proxy.reply_delay_s)
            if not self._proxy.swallowing:
                self._caller.sendall(reply)


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
