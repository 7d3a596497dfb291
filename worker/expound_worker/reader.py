"""Reads the inputs of many requests side by side."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

from PIL import Image
from torch import Tensor

from expound.v1 import explanation_pb2
from expound_worker.decoding.decoder import Decoder
from expound_worker.images import prepare
from expound_worker.models.preprocessing import Preprocessing
from expound_worker.process.threads import compute_on
from expound_worker.store import outlasting_outages
from expound_worker.unit import Stopped

_MOST_IN_A_ROW = 8
# What is read sooner is read to its end, and no call to Redis is made for it.
_LASTS_S = 1.0

IsWanted = Callable[[], bool]
"""Whether the inputs of a request are still wanted."""


class Reader:
    """Reads the inputs of requests side by side."""

    def __init__(self, decoder: Decoder, threads: int) -> None:
        """Makes one.

        Args:
            decoder: decodes the encoded images.
            threads: how many inputs are read at once.
        """
        self._decoder = decoder
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "reader", initializer=compute_on, initargs=(1,))

    def read(
        self,
        requests: Sequence[explanation_pb2.ExplainRequest],
        preprocessing: Preprocessing,
        wanted: Sequence[IsWanted],
    ) -> list[Sequence[Tensor] | Exception]:
        """Reads all inputs; of each request, gives them or what its first bad one raises.

        Where that takes longer than a second, what is behind a request's bad input is left unread,
        and so is what is no longer wanted: Stopped is given for its request. A single input is
        read here: that takes no hop from thread to thread.

        Args:
            requests: whose inputs are read.
            preprocessing: that of their model.
            wanted: for each request, tells whether it still is; asked once a second, by any
                thread.
        """
        sources = [
            _Source(reading, index, source)
            for request, reading in zip(requests, map(_Reading, wanted), strict=True)
            for index, source in enumerate(request.inputs)
        ]
        size = max(1, min(_MOST_IN_A_ROW, -(-len(sources) // self._threads)))
        rows = [sources[start : start + size] for start in range(0, len(sources), size)]
        read = partial(_prepare_all, preprocessing, self._decoder)
        run = map if len(rows) == 1 else self._pool.map
        outcomes = chain.from_iterable(run(read, rows))
        return [_inputs(list(islice(outcomes, len(request.inputs)))) for request in requests]

    def close(self) -> None:
        """Ends its threads."""
        self._pool.shutdown()


class _Reading:
    """Whether the inputs of one request are to be read on; several threads read them."""

    def __init__(self, is_wanted: IsWanted) -> None:
        self._is_wanted = is_wanted
        self._began_s = self._looked_s = time.monotonic()
        self._first_bad = math.inf
        self._stopped = False

    def fail(self, index: int) -> None:
        """Notes an input that cannot be read: what is behind it has no use."""
        self._first_bad = min(self._first_bad, index)

    def check(self, index: int) -> None:
        """Raises Stopped where the input is not to be read."""
        now_s = time.monotonic()
        if now_s - self._began_s < _LASTS_S:
            return
        if now_s - self._looked_s >= _LASTS_S:
            self._looked_s = now_s
            with outlasting_outages():
                self._stopped = not self._is_wanted()
        if self._stopped or index > self._first_bad:
            raise Stopped


@dataclass(frozen=True)
class _Source:
    """One input of a request that is read, and its index."""

    reading: _Reading
    index: int
    input: explanation_pb2.Input


def _inputs(outcomes: list[Tensor | Exception]) -> Sequence[Tensor] | Exception:
    inputs = []
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            return outcome
        inputs.append(outcome)
    return inputs


def _prepare_all(
    preprocessing: Preprocessing, decoder: Decoder, sources: Sequence[_Source]
) -> list[Tensor | Exception]:
    """Prepares inputs, as `prepare` does; gives what that gives or raises."""
    images = [source for source in sources if source.input.WhichOneof("input") == "image"]

    def check(number: int) -> None:
        images[number].reading.check(images[number].index)

    decoded = decoder.decode_all([source.input.image for source in images], check)

    def next_decoded(_: bytes) -> Image.Image:
        image = next(decoded)
        if isinstance(image, Exception):
            raise image
        return image

    outcomes: list[Tensor | Exception] = []
    for source in sources:
        try:
            outcomes.append(prepare(source.input, source.index, preprocessing, next_decoded))
        except Exception as error:
            source.reading.fail(source.index)
            outcomes.append(error)
    return outcomes
