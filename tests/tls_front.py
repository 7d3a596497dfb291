"""TLS in front of a port, as stunnel does it: not every redis-server is built with it."""

import contextlib
import select
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.certificates import Certificate
from tests.processes import free_port

_CHUNK_BYTES = 65_536


class TlsFront:
    """Ends TLS, and forwards what it hears to a port of 127.0.0.1, within a `with` block.

    It asks callers for certificates of the authorities of a file, if there is one.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self, target_port: int, certificate: Certificate, client_ca: Path | None = None
    ) -> None:
        self.port = free_port()
        self._target = ("127.0.0.1", target_port)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate.chain, certificate.key)
        if client_ca is not None:
            self._context.load_verify_locations(client_ca)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(caller,), daemon=True).start()

    def _forward(self, plain: socket.socket) -> None:
        # A caller that does not trust the certificate hangs up in the middle of the handshake.
        with plain, contextlib.suppress(OSError):
            caller = self._context.wrap_socket(plain, server_side=True)
            with caller, socket.create_connection(self._target) as callee:
                while True:
                    ready, _, _ = select.select([caller, callee], [], [])
                    if caller in ready and not _pass_on(caller, callee):
                        return
                    if callee in ready and not _pass_on(callee, caller):
                        return


def _pass_on(source: socket.socket, target: socket.socket) -> bool:
    """Forwards what is there; False where the source has ended."""
    data = source.recv(_CHUNK_BYTES)
    while isinstance(source, ssl.SSLSocket) and source.pending():
        data += source.recv(_CHUNK_BYTES)
    target.sendall(data)
    return bool(data)
