"""How a connection is secured, and how a caller says who it is."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import grpc

from expound_client.errors import InvalidArgumentError

Token: TypeAlias = str | Callable[[], str]
"""A bearer token, or what gives the one that is valid now; called before each call."""
FilePath: TypeAlias = str | PathLike[str]
Metadata: TypeAlias = tuple[tuple[str, str], ...]


def channel_credentials(
    credentials: grpc.ChannelCredentials | None,
    *,
    tls: bool | None,
    ca: FilePath | None,
    cert: FilePath | None,
    key: FilePath | None,
    token: Token | None,
) -> grpc.ChannelCredentials | None:
    """What a channel is secured with; None: it is not encrypted. `Client` says what is what.

    Raises:
        InvalidArgumentError: the arguments do not fit together.
        OSError: a file cannot be read.
    """
    named = {"ca": ca, "cert": cert, "key": key}
    given = [name for name, file in named.items() if file is not None]
    if credentials is not None:
        if given or tls is not None:
            raise InvalidArgumentError.of("credentials", "leave no room for tls, ca, cert and key")
        return credentials
    if (cert is None) != (key is None):
        raise InvalidArgumentError.of(given[-1], "cert and key are given together, or neither")
    if tls is False and given:
        raise InvalidArgumentError.of(given[0], "has no meaning with tls=False")
    # A token that is sent in the clear is everybody's: that has to be asked for by tls=False.
    if tls is False or (tls is None and not given and token is None):
        return None
    return grpc.ssl_channel_credentials(_read(ca), _read(key), _read(cert))


def call_metadata(token: Token | None) -> Callable[[], Metadata]:
    """What gives the metadata of the next call."""

    def metadata() -> Metadata:
        if token is None:
            return ()
        return (("authorization", f"Bearer {token if isinstance(token, str) else token()}"),)

    return metadata


def _read(file: FilePath | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()
