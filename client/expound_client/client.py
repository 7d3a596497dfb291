"""The blocking client."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Literal, Self

import grpc

from expound_client import requests
from expound_client.calls import Calls
from expound_client.channel import open_channel
from expound_client.events import Event
from expound_client.explanation import Explanation
from expound_client.inputs import ImageLike
from expound_client.models import Model
from expound_client.requests import DEFAULT_ADDRESS, DEFAULT_CALL_TIMEOUT_S, MethodLike
from expound_client.security import FilePath, Token, channel_credentials
from expound_client.targets import Target


class Client:
    """A connection to Expound, for use in a `with` block; safe to share between threads.

    Every call raises an `ExpoundError` of `expound_client.errors`, each has a deadline, and those
    that can be repeated without harm are, when the server does not answer.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tls: bool | None = None,
        ca: FilePath | None = None,
        cert: FilePath | None = None,
        key: FilePath | None = None,
        token: Token | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float = DEFAULT_CALL_TIMEOUT_S,
    ) -> None:
        """Makes a client; it connects with the first call.

        Args:
            address: ``host:port`` of the server, or any name that gRPC resolves.
            tls: whether the connection is encrypted, and the server has to prove that it is who it
                is. None: when any of the next four arguments is given. False with a token sends it
                in the clear, which is for where a proxy encrypts.
            ca: PEM file of the authorities that are believed about the server; None: those of gRPC.
            cert: PEM file of the client's own certificate, for servers that ask for one.
            key: PEM file of its private key.
            token: bearer token that says who calls, or a function that gives it, for tokens that
                expire; it is called before each call.
            credentials: gRPC's own credentials in place of tls, ca, cert and key.
            timeout_s: how long a single call may take. Watching, and waiting for results, have
                time limits of their own.

        Raises:
            InvalidArgumentError: the arguments do not fit together.
            OSError: a file cannot be read.
        """
        secured = channel_credentials(credentials, tls=tls, ca=ca, cert=cert, key=key, token=token)
        self._channel = open_channel(address, secured)
        self._calls = Calls(self._channel, timeout_s, token)

    def explain(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        model: str,
        methods: MethodLike | Sequence[MethodLike],
        target: Target = "top1",
        seed: int = 0,
        wait_s: float | None = None,
        timeout_s: float | None = None,
        ttl_s: float | None = None,
        request_id: str | None = None,
        fresh: bool = False,
        deterministic: bool = False,
        values_dtype: Literal["float32", "float16"] = "float32",
        channels: Literal["keep", "sum"] = "keep",
        encoding: Literal["tensor", "png"] = "tensor",
    ) -> Explanation:
        """Asks for explanations of one or more images.

        Args:
            images: one image or a list of them: path of an image file, bytes of one, PIL image,
                uint8 array (H, W, 3) or (H, W), or floating array (C, H, W) in model input units.
            model: name of the model.
            methods: how to explain them: names, or classes of `expound_client.methods`.
            target: what to explain: ``"top1"``, ``"top3"``… a class index or a label.
            seed: seed of everything random.
            wait_s: how long the call itself may wait for the end; None: it answers at once.
            timeout_s: how long the work may take; what is not done then fails. None: 600.
            ttl_s: how long the explanation is kept; None: 3600.
            request_id: idempotency key: a second request with the same id and body gives the
                first one's explanation. None or empty: a new one.
            fresh: works on it anew. Else what the same method has answered about the same inputs
                in the last hour, unless the server is set otherwise, is given again at once, and
                the method's result says that it is `reused`.
            deterministic: shares no batch with other requests, so that the same worker gives the
                same bytes; else last digits may differ.
            values_dtype: element type in which maps are sent.
            channels: whether the channels of maps are kept or summed.
            encoding: "png" has maps sent as 8-bit grey pictures, channels summed, in about a
                twentieth of the bytes: `values` are then rounded to 1/127 of the largest.

        Returns:
            The handle of the accepted explanation.

        Raises:
            InvalidArgumentError: something in the request is wrong; names the field.
            ModelNotFoundError: no live worker serves the model.
            MethodNotImplementedError: no worker implements a method.
            MethodUnsupportedError: a method cannot be right on the model.
            AlreadyExistsError: the request id was used with another request.
            UnauthenticatedError: the server does not know who calls.
            QuotaExceededError: the caller asks for more than it may.
            QueueFullError: more work waits already than the service takes on.
            UnavailableError: the server does not answer.
            OSError: an image file cannot be read.
        """
        request = requests.explain_request(
            images,
            model=model,
            methods=methods,
            target=target,
            seed=seed,
            wait_s=wait_s,
            timeout_s=timeout_s,
            ttl_s=ttl_s,
            request_id=request_id,
            fresh=fresh,
            deterministic=deterministic,
            values_dtype=values_dtype,
            channels=channels,
            encoding=encoding,
        )
        return Explanation(self._calls, self._calls.explain(request), request.inputs)

    def get(self, name: str) -> Explanation:
        """Gives the handle of an explanation by its name, whoever asked for it.

        Raises:
            ExplanationNotFoundError: there is none.
        """
        return Explanation(self._calls, self._calls.get(name))

    def list(self) -> Iterator[Explanation]:
        """Yields the handles of all explanations, newest first."""
        return (Explanation(self._calls, answer) for answer in self._calls.list())

    def watch(
        self, name: str, after_sequence: int = 0, *, timeout_s: float | None = None
    ) -> Iterator[Event]:
        """Yields the events of an explanation; see `Explanation.watch`."""
        return self.get(name).watch(after_sequence, timeout_s=timeout_s)

    def models(self) -> tuple[Model, ...]:
        """Gives the cards of all models by name, without labels and layers."""
        return tuple(self._calls.models())

    def model(self, name: str) -> Model:
        """Gives the card of a model. Raises ModelNotFoundError when no live worker serves it."""
        return self._calls.model(name)

    def close(self) -> None:
        """Closes the connection; calls under way end."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
